//! From a file to batches, as a user of the library goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use wgrec::Error;
use wgrec::data::{
    BatchSpec, Cache, DataConfig, Dataset, EvalBatches, EvalSpec, Padding, Part, Split, Summary, TrainBatches,
};

/// Twelve users who walk over ten items in a circle, and one with a single event.
fn ratings() -> String {
    let mut lines: Vec<String> = (0..12)
        .flat_map(|user| (0..8).map(move |t| (user, t)))
        .map(|(user, t)| format!("u{user}::i{}::{}::{}", (user + t) % 10, 1 + t % 5, 978_300_000 + 60 * t + user))
        .collect();
    lines.reverse(); // a file need not be in order of time
    lines.push("lonely::i3::5::978300000".to_string());
    lines.join("\n") + "\n"
}

fn load(folder: &Path, contents: &str, config: &DataConfig) -> Result<Dataset, Error> {
    let path: PathBuf = folder.join("ratings.dat");
    std::fs::write(&path, contents).unwrap();
    config.load_with(&path, Some(&Cache { folder: folder.join("cache") }))
}

#[test]
fn from_a_file_to_batches() {
    let folder = tempfile::tempdir().unwrap();
    let config = DataConfig::default();
    let data = Arc::new(load(folder.path(), &ratings(), &config).unwrap());
    assert_eq!((data.users(), data.items(), data.interactions()), (13, 10, 97));
    let user = data.users_named(&["u3"]).unwrap()[0];
    let walk: Vec<&str> = data.history(user).iter().map(|&item| data.item_name(item)).collect();
    assert_eq!(walk, ["i3", "i4", "i5", "i6", "i7", "i8", "i9", "i0"]);

    let split = Arc::new(Split::new(&data, config.split).unwrap());
    assert_eq!(split.describe(&data), "leave-one-out: 12 users evaluated, 1 left out (fewer than 3 events)");
    assert!(Summary::of(&data).to_string().contains(&split.describe(&data)));

    let (batch, max_len, padding) = (16, 4, Padding::Left);
    let spec = BatchSpec { batch, max_len, padding, threads: 2, ..BatchSpec::default() };
    let training = TrainBatches::new(data.clone(), split.clone(), spec).unwrap();
    assert_eq!((training.samples(), training.batches_per_epoch()), (60, 4));
    for batch in training.epoch(0, 0) {
        for row in 0..batch.samples {
            // In a circle the target follows the last item of the window.
            let number = |item| data.item_name(item)[1..].parse::<u32>().unwrap();
            assert_eq!(number(batch.positive[row]), (number(batch.history[row * 4 + 3]) + 1) % 10);
        }
    }
    let sampled = Some((2, 1));
    let spec = EvalSpec { batch, max_len, padding, sampled, threads: 1, ..EvalSpec::default() };
    let evaluation = EvalBatches::new(data.clone(), split.clone(), Part::Test, spec).unwrap();
    assert_eq!(evaluation.batches().map(|batch| batch.samples).sum::<usize>(), 12);

    let again = load(folder.path(), &ratings(), &config).unwrap();
    assert_eq!(again.fingerprint(), data.fingerprint());
    let other = load(folder.path(), &ratings().replace("u3::i3", "u3::i5"), &config).unwrap();
    assert_ne!(other.fingerprint(), data.fingerprint());
}

#[test]
fn filters_leave_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let config = DataConfig { min_user: 2, min_value: Some(2.0), ..DataConfig::default() };
    let data = load(folder.path(), &ratings(), &config).unwrap();
    assert_eq!(
        data.notes(),
        [
            "movielens: 97 interactions of 13 users and 10 items",
            "values below 2: 24 interactions dropped",
            "at least 2 interactions a user and 0 an item: 1 users, 0 items and 1 interactions dropped in 1 rounds",
        ]
    );
    let nothing = DataConfig { min_user: 100, ..DataConfig::default() };
    let error = load(folder.path(), &ratings(), &nothing).unwrap_err();
    assert!(error.to_string().contains("no interaction is left: movielens: 97 interactions"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn settings_are_checked_when_read() {
    let config: DataConfig =
        toml::from_str("path = \"x\"\nsplit = \"ratio:80,10,10\"\nties = \"item\"\ncolumns.user = \"who\"").unwrap();
    assert_eq!((config.split.to_string(), config.max_len), ("ratio:80,10,10".to_string(), 50));
    assert_eq!(toml::from_str::<DataConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    for (text, expected) in [
        ("min_usr = 5", "unknown field `min_usr`, expected one of"),
        ("split = \"half\"", "split \"half\": expected \"leave-one-out\""),
        ("min_user = -1", "-1"),
        ("format = \"xml\"", "unknown variant `xml`, expected one of `movielens`"),
    ] {
        let message = toml::from_str::<DataConfig>(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

/// Where nothing can show a cut, a note says that there may be one.
#[test]
fn a_file_without_a_last_line_break_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let noted = |contents: &str| {
        let data = load(folder.path(), contents, &DataConfig::default()).unwrap();
        data.notes().iter().any(|note| note.contains("the last line has no line break"))
    };
    assert!(!noted(&ratings()));
    assert!(noted(ratings().trim_end()));
}
