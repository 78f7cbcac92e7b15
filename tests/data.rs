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
    assert!(Summary::of(&data, config.split).to_string().contains(&split.describe(&data)));

    let (batch, max_len, padding) = (16, 4, Padding::Left);
    let spec = BatchSpec { batch, max_len, padding, threads: 2, ..BatchSpec::default() };
    let training = TrainBatches::new(data.clone(), split.clone(), spec).unwrap();
    assert_eq!((training.samples(), training.batches_per_epoch()), (60, 4));
    for batch in training.epoch(0, 0) {
        for row in 0..batch.samples {
            // In a circle the target follows the last item of the window.
            let number = |item| data.item_name(item)[1..].parse::<u32>().unwrap();
            let [target, last] = [batch.columns.u32("positive")[row], batch.columns.u32("history")[row * 4 + 3]];
            assert_eq!(number(target), (number(last) + 1) % 10);
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
        ("format = \"xml\"", "found \"xml\"; expected one of parquet, benchmark, atomic, amazon"),
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

/// `wgrec data inspect` with arguments: what it prints, or its complaint where it fails with exit code 2.
fn inspect(args: &[&str]) -> Result<String, String> {
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_wgrec"))
        .args(["data", "inspect"])
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/small"))
        .env("WGREC_CACHE", std::env::temp_dir().join(format!("wgrec-inspect-{}", std::process::id())))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match program.status.code() {
        Some(0) => Ok(text(program.stdout)),
        code => {
            let error = text(program.stderr);
            assert_eq!(code, Some(2), "{error}");
            Err(error)
        }
    }
}

#[test]
fn inspect_takes_what_train_takes() {
    let numbers = ["noheader_min.csv", "--user-column=1", "--item-column=2", "--time-column=3"];
    let text = inspect(&numbers).unwrap();
    assert!(text.contains("delimited: 2 interactions of 1 users and 2 items"), "{text}");
    // A column that is missing names the header, whichever one was asked for and whatever the file looks like.
    for args in [&["two_times.csv", "--user-column=who"][..], &["noheader_min.csv", "--item-column=who"]] {
        let error = inspect(args).unwrap_err();
        assert!(error.contains("found the columns [\"") && error.contains("expected a column \"who\""), "{error}");
    }
    assert!(inspect(&["emptyrating.csv"]).unwrap_err().contains("emptyrating.csv:3:3: found nothing"));
    let without = inspect(&["emptyrating.csv", "--no-rating"]).unwrap();
    assert!(without.contains("16 interactions") && without.contains("no value (not rating)"), "{without}");
    let rated = |skip: &str| inspect(&["emptyrating.csv", skip]);
    let skipped = rated("--skip-bad=all").unwrap();
    assert!(skipped.contains("rows that do not parse left out, the first: emptyrating.csv:3:3"), "{skipped}");
    assert!(rated("--skip-bad=1").unwrap_err().contains("found nothing; expected a finite number"));
    assert!(rated("--skip-bad=few").unwrap_err().contains("expected a number of rows, or all"));
    let untimed = inspect(&["two_times.csv", "--no-time"]).unwrap();
    assert!(untimed.contains("no time (not time, timestamp)"), "{untimed}");
    assert!(
        inspect(&["two_times.csv", "--no-time", "--time-column=time"]).unwrap_err().contains("cannot be used with")
    );

    let settings = ["--set=data.columns.no_rating=true", "--set=data.split=ratio:80,10,10"];
    let text = inspect(&[&["emptyrating.csv"], &settings[..]].concat()).unwrap();
    assert!(text.contains("split         ratio:80,10,10"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    std::fs::write(&file, "[data]\npath = \"emptyrating.csv\"\nskip_bad = \"all\"\n[train]\nlr = 0.5\n").unwrap();
    let config = format!("--config={}", file.display());
    assert_eq!(inspect(&[&config]).unwrap(), skipped);
    assert!(inspect(&[]).unwrap_err().contains("expected a file or folder"));
    assert!(inspect(&["emptyrating.csv", "--set=data.min_usr=3"]).unwrap_err().contains("did you mean data.min_user?"));
}

#[test]
fn inspect_shows_what_is_known_of_items() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, contents: &[u8]| std::fs::write(folder.path().join(name), contents).unwrap();
    put("log.csv", b"user,item\nu,a\nu,b\nv,a\n");
    put("items.csv", b"id,title,brand,price\na,Salt &amp; Pepper,Acme,$2.50\nb,,,\nc,Z,Y,$1\n");
    let vectors = |number: f32| {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }\n";
        let numbers = [1.0, 2.0, 0.0, 0.0, number, 6.0f32].map(f32::to_le_bytes).concat();
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &numbers].concat()
    };
    put("text.npy", &vectors(5.0));
    let log = folder.path().join("log.csv").display().to_string();
    let text = inspect(&[&log]).unwrap();
    for line in [
        "texts         1 items, 1 missing: the columns title, brand (items.csv)\n              \"Salt & Pepper. Acme\"\n",
        "text          1 items, 1 missing: embeddings of width 2 in f32 (text.npy)\n",
        "prices        1 items, 1 missing: 2.5 to 2.5, USD (items.csv)\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("image"), "{text}");
    let all = inspect(&[&log, "--set=data.catalogue=features"]).unwrap();
    for line in
        ["items         3\n", "texts         2 items, 1 missing", "prices        2 items, 1 missing: 1 to 2.5, USD"]
    {
        assert!(all.contains(line), "{all}");
    }
    put("text.npy", &vectors(f32::NAN));
    assert!(inspect(&[&log]).is_ok(), "the row of c is not read");
    let error = inspect(&[&log, "--set=data.catalogue=features"]).unwrap_err();
    assert!(error.contains("text.npy: found NaN in row 2, column 0 (from 0); expected finite numbers"), "{error}");
}

#[test]
fn lists_of_users_with_a_byte_order_mark_and_spaces() {
    use wgrec::data::ask::listed_users;
    let folder = tempfile::tempdir().unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/small");
    for (path, contents) in [
        (cases.join("u_bom.txt"), None),
        (cases.join("u_space.txt"), None),
        (folder.path().join("u"), Some("\tu1\r\n\r\nu2\nu1")),
    ] {
        contents.into_iter().for_each(|contents| std::fs::write(&path, contents).unwrap());
        assert_eq!(listed_users(&path).unwrap(), ["u1", "u2"], "{}", path.display());
    }
    let latin = folder.path().join("latin");
    std::fs::write(&latin, b"u1\ncaf\xe9\n").unwrap();
    let error = listed_users(&latin).unwrap_err();
    assert!(
        error.exit_code() == 2
            && error.to_string().ends_with("latin:2: found \"caf\\xe9\"; expected ids of users, one a line"),
        "{error}"
    );
}
