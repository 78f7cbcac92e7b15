//! Known data sets: where they come from, what may be done with them, what they should hold. One file each in `datasets/`.

#[cfg(feature = "download")]
mod download;
#[cfg(feature = "download")]
mod zip;

#[cfg(feature = "download")]
pub use download::{Fetched, get};

use super::readers::{Format, Interactions};
use crate::error::{Error, Result, nearest};
use indicatif::HumanCount;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A file of `datasets/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    pub title: String,
    pub homepage: String,
    pub licence: String,
    pub cite: String,
    /// The reader of the files as they are offered.
    pub format: Format,
    /// Names of folders or files (without ending, in lower case) that say that a path means this data set.
    pub names: Vec<String>,
    /// What was published about it, by version.
    pub counts: Vec<Counts>,
    /// Files to fetch, where the licence allows.
    #[serde(default)]
    pub download: Vec<Remote>,
    /// Why it is not fetched, and where to get it.
    pub refusal: Option<String>,
}

/// Published counts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Of which version, and from where.
    pub what: String,
    pub users: u64,
    pub items: u64,
    pub interactions: u64,
}

/// A file to fetch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    pub url: String,
    pub md5: Option<String>,
    pub sha256: Option<String>,
    /// Members of a zip archive to keep; the archive itself goes. Empty: the file is kept as it is.
    #[serde(default)]
    pub unpack: Vec<String>,
}

const FILES: [(&str, &str); 8] = [
    ("ml-1m", include_str!("../../datasets/ml-1m.toml")),
    ("ml-100k", include_str!("../../datasets/ml-100k.toml")),
    ("ml-latest-small", include_str!("../../datasets/ml-latest-small.toml")),
    ("lastfm", include_str!("../../datasets/lastfm.toml")),
    ("taobao", include_str!("../../datasets/taobao.toml")),
    ("amazon-beauty", include_str!("../../datasets/amazon-beauty.toml")),
    ("amazon-gift-cards", include_str!("../../datasets/amazon-gift-cards.toml")),
    ("amazon-scientific", include_str!("../../datasets/amazon-scientific.toml")),
];

/// All known data sets.
pub fn all() -> Vec<Known> {
    let parse = |(name, text): (&str, &str)| {
        let known: Known = toml::from_str(text).unwrap_or_else(|e| panic!("datasets/{name}.toml: {e}"));
        Known { name: name.to_string(), ..known }
    };
    FILES.into_iter().map(parse).collect()
}

/// The data set called `name`.
///
/// # Errors
/// An unknown name; the error names the nearest one and all others.
pub fn named(name: &str) -> Result<Known> {
    let mut all = all();
    if let Some(at) = all.iter().position(|known| known.name == name) {
        return Ok(all.swap_remove(at));
    }
    let names: Vec<String> = all.into_iter().map(|known| known.name).collect();
    let nearest = nearest(name, names.iter().map(String::as_str));
    let nearest = nearest.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
    Err(Error::Usage(format!("no known data set {name:?}{nearest} (known: {})", names.join(", "))))
}

/// Where `wgrec data get NAME` puts a data set unless told otherwise.
pub fn usual_folder(name: &str) -> PathBuf {
    Path::new("data").join(name)
}

/// `path` itself, or, where nothing is there and it is the name of a known data set, the folder where `get` put it.
///
/// # Errors
/// If nothing is there either; the error says how to get it.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let Some(known) = path.to_str().and_then(|name| all().into_iter().find(|known| known.name == name)) else {
        return Ok(path.to_path_buf());
    };
    let folder = usual_folder(&known.name);
    match (path.exists(), folder.exists()) {
        (true, _) => Ok(path.to_path_buf()),
        (false, true) => Ok(folder),
        (false, false) => Err(Error::Usage(match known.refusal {
            None => format!("{0} is not in {1}; fetch it with `wgrec data get {0}`", known.name, folder.display()),
            Some(why) => format!("{} is not in {}, and wgrec does not fetch it: {why}", known.name, folder.display()),
        })),
    }
}

/// Which known data set was read from `path`, before filtering, and whether the counts are the published ones: a line for people.
/// None if it is not one of them.
pub fn recognise(path: &Path, data: &Interactions) -> Option<String> {
    let got = [data.user_names.len() as u64, data.item_names.len() as u64, data.len() as u64];
    let as_published = |known: &Known| {
        let same = |counts: &&Counts| [counts.users, counts.items, counts.interactions] == got;
        known.counts.iter().find(same).map(|counts| counts.what.clone())
    };
    for known in all() {
        if let Some(what) = as_published(&known) {
            return Some(format!("known data set {} ({}): counts as published ({what})", known.name, known.title));
        }
    }
    let known = all().into_iter().find(|known| called(path, &known.names))?;
    let published = known.counts.iter().map(|counts| {
        let [users, items, interactions] = [counts.users, counts.items, counts.interactions].map(HumanCount);
        format!("{interactions} interactions, {users} users, {items} items ({})", counts.what)
    });
    let published: Vec<String> = published.collect();
    Some(format!("named like {} ({}), but the counts differ from {}", known.name, known.title, published.join(" and ")))
}

/// Whether the file, without its endings, or its folder has one of these names.
fn called(path: &Path, names: &[String]) -> bool {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let parts = [path.file_name(), path.parent().and_then(Path::file_name)];
    parts.into_iter().flatten().any(|part| {
        let part = part.to_string_lossy().to_lowercase();
        names.iter().any(|name| part == *name || part.split('.').next() == Some(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::tests::interactions;

    #[test]
    fn every_file_is_embedded_and_sound() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|file| file.unwrap().file_name().to_str()?.strip_suffix(".toml").map(String::from))
            .collect();
        files.sort();
        let mut names: Vec<String> = all().into_iter().map(|known| known.name).collect();
        names.sort();
        assert_eq!(files, names);
        for known in all() {
            assert!(!known.counts.is_empty() && known.homepage.starts_with("https://"), "{}", known.name);
            assert!(known.download.is_empty() == known.refusal.is_some(), "{}: fetched or refused", known.name);
            assert!(known.download.iter().all(|remote| remote.url.starts_with("https://")), "{}", known.name);
        }
    }

    #[test]
    fn names() {
        assert_eq!(named("ml-1m").unwrap().title, "MovieLens-1M");
        let message = named("ml1m").unwrap_err().to_string();
        assert!(
            message.starts_with("no known data set \"ml1m\"; did you mean \"ml-1m\"? (known: ml-1m, ml-100k,"),
            "{message}"
        );
        let message = resolve(Path::new("ml-1m")).unwrap_err().to_string();
        assert!(message.ends_with("fetch it with `wgrec data get ml-1m`"), "{message}");
        let message = resolve(Path::new("taobao")).unwrap_err().to_string();
        assert!(message.contains("wgrec does not fetch it: Tianchi asks for an account"), "{message}");
        assert_eq!(resolve(Path::new("some/where")).unwrap(), Path::new("some/where"));
    }

    #[test]
    fn counts_are_compared() {
        let few = interactions(&[vec![1, 2], vec![1]]);
        assert_eq!(recognise(Path::new("/x/ratings.dat"), &few), None);
        let said = recognise(Path::new("/data/ml-1m/ratings.dat.gz"), &few).unwrap();
        assert!(
            said.starts_with("named like ml-1m (MovieLens-1M), but the counts differ from 1,000,209 interactions"),
            "{said}"
        );
        assert!(recognise(Path::new("/data/LastFM.txt"), &few).unwrap().starts_with("named like lastfm"));
        // 458 users and 148 items in 2,972 events are the gift cards, whatever the file is called.
        let mut histories: Vec<Vec<u32>> = vec![(0..148).collect()];
        histories.extend((1..458).map(|user| vec![1; if user < 83 { 7 } else { 6 }]));
        let events: usize = histories.iter().map(Vec::len).sum();
        histories[1].extend(vec![2; 2972 - events]);
        let said = recognise(Path::new("x"), &interactions(&histories)).unwrap();
        assert!(said.starts_with("known data set amazon-gift-cards"), "{said}");
    }
}
