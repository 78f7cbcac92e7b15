//! `wgrec.train`

use crate::arrow::{RawStream, Stream};
use crate::errors::{InputError, raised};
use crate::frame::Frame;
use crate::thread::{self, Said, Say};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use wgrec::config::Config;
use wgrec::train::{FitOptions, Report, RunFolder, Stop, fit};
use wgrec::{Error, Result};

/// The stream in a capsule of `__arrow_c_stream__`.
pub fn taken(capsule: &Bound<PyCapsule>) -> PyResult<Stream> {
    let pointer = capsule.pointer_checked(Some(c"arrow_array_stream")).map_err(|_| {
        InputError::new_err("data: found an object whose __arrow_c_stream__ gives no stream; expected a data frame")
    })?;
    // SAFETY: a capsule of this name holds such a structure, and this thread has the interpreter.
    Ok(unsafe { Stream::take(pointer.as_ptr().cast::<RawStream>()) })
}

/// What is to be trained.
struct Job {
    model: String,
    path: Option<PathBuf>,
    stream: Option<Stream>,
    /// `key=value`, and what errors call it.
    settings: Vec<(String, String)>,
    out: Option<PathBuf>,
    preset: Option<String>,
    config: Option<PathBuf>,
    resume: bool,
}

/// Trains in a run folder and returns it. `show` is given each line of the report with False, and the bar of the epoch in hand with
/// True.
#[pyfunction]
#[pyo3(signature = (model, path, stream, settings, out, preset, config, resume, show))]
#[expect(clippy::too_many_arguments)]
pub fn train(
    py: Python,
    model: String,
    path: Option<PathBuf>,
    stream: Option<Bound<PyCapsule>>,
    settings: Vec<(String, String)>,
    out: Option<PathBuf>,
    preset: Option<String>,
    config: Option<PathBuf>,
    resume: bool,
    show: Option<Bound<PyAny>>,
) -> PyResult<PathBuf> {
    let stream = stream.map(|stream| taken(&stream)).transpose()?;
    let job = Job { model, path, stream, settings, out, preset, config, resume };
    let stop = Stop::default();
    let request = stop.clone();
    let shown = show.is_some();
    let work = thread::start(move |say| job.run(shown.then_some(say), stop))?;
    let mut raised_by_signal: Option<PyErr> = None;
    let said = |what| match (&show, what) {
        (Some(show), Said::Line(line)) => show.call1((line, false)).map(drop),
        (Some(show), Said::Bar(bar)) => show.call1((bar, true)).map(drop),
        (None, _) => Ok(()),
    };
    let interrupted = |e: PyErr| {
        request.request();
        // The second time it is not waited for: the training ends after the step in hand.
        match raised_by_signal.replace(e) {
            None => Ok(()),
            Some(_) => Err(raised_by_signal.take().expect("it was just put there")),
        }
    };
    let done = work.wait(py, said, interrupted)?;
    match (raised_by_signal, done) {
        (None, Ok(path)) => Ok(path),
        (Some(e), Ok(path)) => {
            let path = path.display();
            Err(interruption(
                py,
                e,
                &format!("the training was at its end, which is saved: wgrec.open({:?})", path.to_string()),
            ))
        }
        (Some(e), Err(Error::Stopped(what))) => Err(interruption(py, e, &what)),
        (_, Err(e)) => Err(raised(e)),
    }
}

/// The exception of a signal; of Ctrl-C with what is saved.
fn interruption(py: Python, e: PyErr, what: &str) -> PyErr {
    if e.is_instance_of::<PyKeyboardInterrupt>(py) { PyKeyboardInterrupt::new_err(what.to_string()) } else { e }
}

impl Job {
    fn run(self, say: Option<Say>, stop: Stop) -> Result<PathBuf> {
        let Job { model, path, stream, settings, out, preset, config: file, resume } = self;
        let framed = stream.is_some();
        let given = |mut config: Config| {
            if let Some(file) = &file {
                config = config.with_file(file)?;
            }
            for (setting, source) in &settings {
                config = config.with_setting_of(setting, source)?;
            }
            if path.is_some() || framed {
                // Of a frame the file is known once the folder is.
                config.data.path = path.clone().or_else(|| Some(PathBuf::from("data")));
            }
            Ok(config)
        };
        let over = |was: Config| {
            if framed {
                return Err(Error::Usage(
                    "data: found a data frame to resume with; expected none: the run keeps its own".to_string(),
                ));
            }
            was.changed(preset.as_deref(), given)
        };
        let new = || {
            let config = Config::resolved(&model, preset.as_deref(), Ok, given)?;
            config.check()?;
            Ok(config)
        };
        let (folder, mut config) = wgrec::train::start(&model, out.as_deref(), resume, over, new)?;
        let run = || {
            let mut header = vec![];
            if let Some(stream) = stream {
                let file = std::path::absolute(folder.data_file()).map_err(Error::io(folder.path(), "find"))?;
                let frame = Frame::new(stream, &config.data.columns, true)?;
                header = frame.header();
                frame.write(&file, &stop)?;
                config.data.path = Some(file);
            }
            let options = FitOptions { resume, stop, ..FitOptions::default() };
            let trained = fit::train(&config, &folder, options, &mut report(say));
            trained.map(drop).map_err(|e| in_frame(e, &folder.data_file(), &header))
        };
        match run() {
            Ok(()) => Ok(folder.path().to_path_buf()),
            Err(e) => {
                if !RunFolder::is_run(folder.path()) {
                    remove_data(&folder.data_file());
                }
                Err(match e {
                    Error::Stopped(what) if RunFolder::is_run(folder.path()) => {
                        let path = folder.path().to_string_lossy();
                        Error::Stopped(format!("{what}; resume by wgrec.train({model:?}, out={path:?}, resume=True)"))
                    }
                    e => e,
                })
            }
        }
    }
}

/// Removes the data of a training that did not begin, and the folder that was made for them.
fn remove_data(file: &Path) {
    let _ = fs::remove_file(file);
    if let Some(folder) = file.parent() {
        let _ = fs::remove_dir(folder);
    }
}

/// An error about a cell of the `file` that a frame was written to, by the frame's rows and columns.
fn in_frame(e: Error, file: &Path, header: &[String]) -> Error {
    match e {
        Error::Input { path, line, column, found, expected } if !header.is_empty() && path.ends_with(file) => {
            let row = line.map(|line| format!(", row {} (from 0)", line - 1)).unwrap_or_default();
            let name = column.and_then(|column| header.get(column as usize - 1));
            let column = name.map(|name| format!(", column {name:?}")).unwrap_or_default();
            Error::Usage(format!("data{row}{column}: found {found}; expected {expected}"))
        }
        e => e,
    }
}

/// A report whose lines and bars are said, if anybody listens.
fn report(say: Option<Say>) -> Report {
    let Some(say) = say else { return Report::to(io::sink()) };
    let say = Rc::new(say);
    let lines = Lines { say: say.clone(), text: vec![] };
    Report::told(lines, move |bar| say(Said::Bar(bar.to_string())))
}

/// Says each line that is written.
struct Lines {
    say: Rc<Say>,
    text: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.text);
        String::from_utf8_lossy(&text).lines().for_each(|line| (self.say)(Said::Line(line.to_string())));
        Ok(())
    }
}
