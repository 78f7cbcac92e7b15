//! The one error type. Each message names what was wrong, where, and what to do.

use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong for a user. Panics are only for bugs in wgrec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file whose contents are not what they should be. `line` and `column` count from 1.
    #[error("{}{}: found {found}; expected {expected}", path.display(), place(*.line, *.column))]
    Input { path: PathBuf, line: Option<u64>, column: Option<u64>, found: String, expected: String },

    /// A file or folder that could not be read or written.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io { path: PathBuf, doing: &'static str, source: std::io::Error },

    /// A setting or argument that makes no sense; the message says which, what was found and what to do.
    #[error("{0}")]
    Usage(String),

    /// An operation was given inputs it cannot take; names the operation and the shapes it got.
    #[error("{op}: {message}")]
    Shape { op: String, message: String },

    /// The device cannot hold or run the plan; says what to lower.
    #[error("{0}")]
    Device(String),

    /// The run itself failed (a lost device): exit code 1.
    #[error("{0}")]
    Failed(String),

    /// A loss, a parameter or a score that is not finite, so that nothing may come of it: exit code 1.
    #[error("{0}")]
    NotFinite(String),

    /// A training that was asked to stop, and did; the message says what is saved: exit code 130.
    #[error("{0}")]
    Stopped(String),
}

fn place(line: Option<u64>, column: Option<u64>) -> String {
    match (line, column) {
        (Some(l), Some(c)) => format!(":{l}:{c}"),
        (Some(l), None) => format!(":{l}"),
        _ => String::new(),
    }
}

/// The name in `names` that was most likely meant by `wanted`, if one is near.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(&plain(wanted), &plain(name));
    let near = names.into_iter().map(|name| (likeness(name), name)).filter(|(likeness, _)| *likeness > 0.75);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// A name in lower case, without `_`, `-` and spaces.
pub(crate) fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

impl Error {
    /// For `.map_err(Error::io(path, "read"))`.
    pub fn io(path: impl AsRef<Path>, doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, doing, source }
    }

    /// For `.map_err(..)` and `return Err(..)`: an op that got shapes it cannot take.
    pub fn shape(op: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Shape { op: op.into(), message: message.into() }
    }

    /// The same of the data set called `name`, where several are read; what names a file says enough.
    #[cfg(feature = "train")]
    pub(crate) fn of(self, name: &str) -> Error {
        match self {
            Error::Usage(problem) => Error::Usage(format!("{name}: {problem}")),
            other => other,
        }
    }

    /// There is no `what` (an input, a state) called `name`, with the one that was probably meant and all that there are.
    pub(crate) fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
        let mut known: Vec<&str> = known.collect();
        known.sort_unstable();
        let meant = nearest(name, known.iter().copied()).map(|name| format!("; did you mean {name:?}?"));
        let (meant, known) = (meant.unwrap_or_default(), known.join(", "));
        Error::Usage(format!("there is no {what} {name:?}{meant} (the {what}s are {known})"))
    }

    /// 2 for wrong input or usage, 1 for a failed run, 130 for one that was stopped. A file that is not there, or is no file of
    /// the kind that was expected, is wrong input; a disk that is full or broken is a failure.
    pub fn exit_code(&self) -> i32 {
        use std::io::ErrorKind::*;
        match self {
            Error::Io { source, .. } => match source.kind() {
                NotFound | PermissionDenied | AlreadyExists | NotADirectory | IsADirectory | DirectoryNotEmpty
                | InvalidFilename | InvalidInput | InvalidData | UnexpectedEof => 2,
                _ => 1,
            },
            Error::Failed(_) | Error::NotFinite(_) => 1,
            Error::Stopped(_) => 130,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_what_is_near_is_meant() {
        let names = ["pomrec", "sasrec", "gru4rec", "bert4rec", "pop"];
        for (wanted, meant) in
            [("pomerc", "pomrec"), ("SASRec", "sasrec"), ("gru", "gru4rec"), ("BERT-4-rec", "bert4rec")]
        {
            assert_eq!(nearest(wanted, names), Some(meant));
        }
        for wanted in ["transformer", "x", "", "foo.bar", "mlp"] {
            assert_eq!(nearest(wanted, names), None, "{wanted}");
        }
    }
}
