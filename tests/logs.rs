//! What a training writes for TensorBoard and MLflow. `experiments/logs/read.py` reads both back by their own packages.

mod program;

use program::Bench;
use std::fs;
use std::path::{Path, PathBuf};

/// The records of the event files in a folder, the earlier file first.
fn records(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut all = vec![];
    for path in files {
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
        let bytes = fs::read(path).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            // Length and its checksum, the event and its checksum.
            let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            all.push(rest[12..12 + len].to_vec());
            rest = &rest[12 + len + 4..];
        }
    }
    all
}

fn has(record: &[u8], part: &[u8]) -> bool {
    record.windows(part.len()).any(|at| at == part)
}

/// Names and lines of the metrics of a run in an MLflow store, without times.
fn metrics(folder: &Path) -> Vec<(String, Vec<String>)> {
    let mut all = vec![];
    for group in fs::read_dir(folder.join("metrics")).unwrap().map(|entry| entry.unwrap().path()) {
        for path in fs::read_dir(&group).unwrap().map(|entry| entry.unwrap().path()) {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().map(|line| line.split_once(' ').unwrap().1.to_string()).collect();
            let [group, name] = [&group, &path].map(|path| path.file_name().unwrap().to_str().unwrap().to_string());
            if !name.contains("second") {
                all.push((format!("{group}/{name}"), lines));
            }
        }
    }
    all.sort();
    all
}

/// The folders of the runs in the store, by the names of the runs.
fn stored(bench: &Bench, name: &str) -> PathBuf {
    let folders = fs::read_dir(bench.path("mlruns/1")).unwrap().map(|entry| entry.unwrap().path());
    let named = |folder: &PathBuf| fs::read_to_string(folder.join("tags/mlflow.runName")).is_ok_and(|own| own == name);
    folders.into_iter().find(named).unwrap_or_else(|| panic!("no run {name}"))
}

#[test]
fn trainings_are_logged_and_logs_are_resumed() {
    let bench = Bench::new();
    let log = "--log=tensorboard,mlflow";
    bench.train("sasrec", "whole", &[log, "--set=log.every=2"]);
    bench.train("sasrec", "parts", &[log, "--set=log.every=2", "--set=train.epochs=1"]);
    bench.ok(&["train", "sasrec", "--resume", "--out=parts", "--set=train.epochs=3"]);

    let whole = records(&bench.path("whole/tensorboard"));
    assert!(has(&whole[0], b"brain.Event:2"));
    assert!(has(&whole[2], b"settings") && has(&whole[2], b"| train.lr | 0.01 |\n"));
    let tagged = |records: &[Vec<u8>], tag: &str| records.iter().filter(|record| has(record, tag.as_bytes())).count();
    // Steps 2, 4, .. 12 of three epochs of four.
    for (tag, times) in [("train/loss", 6), ("epoch/loss", 3), ("valid/ndcg@10", 3), ("test/ndcg@10", 1)] {
        assert_eq!(tagged(&whole, tag), times, "{tag}");
    }
    let mut parts = records(&bench.path("parts/tensorboard"));
    assert_eq!(parts.iter().filter(|record| has(record, b"brain.Event:2")).count(), 2, "a file for each process");
    // The first process tested too, after the step that is the last of its file.
    parts.retain(|record| has(record, b"train/loss"));
    assert_eq!(parts.len(), 6);

    let (whole, parts) = (stored(&bench, "whole"), stored(&bench, "parts"));
    let lines = metrics(&whole);
    let loss = &lines.iter().find(|(name, _)| name == "train/loss").unwrap().1;
    assert_eq!(loss.len(), 6);
    assert!(loss[0].ends_with(" 2") && loss[5].ends_with(" 12"), "{loss:?}");
    let of_training = |all: Vec<(String, Vec<String>)>| -> Vec<_> {
        all.into_iter().filter(|(name, _)| !name.starts_with("test/")).collect()
    };
    assert_eq!(of_training(metrics(&parts)), of_training(lines));
    assert_eq!(fs::read_to_string(whole.join("params/train.lr")).unwrap(), "0.01");
    let about = fs::read_to_string(whole.join("meta.yaml")).unwrap();
    assert!(about.contains("run_name: \"whole\"\n") && about.contains("status: 3\n"), "{about}");
    assert!(fs::read_to_string(bench.path("mlruns/1/meta.yaml")).unwrap().contains("name: wgrec\n"));

    // A training that comes to no end is not said to go on.
    let failed = bench.run(&program::small("sasrec", "failed", &[log, "--set=train.lr=1e30"]));
    assert_eq!(failed.status.code(), Some(1));
    let about = fs::read_to_string(stored(&bench, "failed").join("meta.yaml")).unwrap();
    assert!(about.contains("status: 4\n") && !about.contains("end_time: null"), "{about}");
}

#[test]
fn logs_change_no_run_and_other_programs_are_refused() {
    let bench = Bench::new();
    bench.train("sasrec", "plain", &["--set=train.epochs=1"]);
    bench.train("sasrec", "logged", &["--set=train.epochs=1", "--set=log.to=[\"tensorboard\"]"]);
    assert_eq!(bench.lines("plain"), bench.lines("logged"));
    assert!(!bench.path("plain/tensorboard").exists() && !bench.path("mlruns").exists());
    let other = bench.run(&["train", "sasrec", "--log=wandb"]);
    let error = String::from_utf8_lossy(&other.stderr).to_string();
    assert!(other.status.code() == Some(2) && error.contains("tensorboard, mlflow"), "{error}");
    let error = bench.refuses(&["train", "sasrec", "--set=log.to=[\"wandb\"]"]);
    assert!(error.contains("log.to"), "{error}");
    assert!(!bench.path("runs").exists());
}
