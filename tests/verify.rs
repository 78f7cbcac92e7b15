//! `wgrec verify`: a run that is trained again.

mod program;

use program::Bench;
use std::fs;
use std::path::Path;

/// The hashes of a run without what they were made by.
fn readings(bench: &Bench, run: &str) -> Vec<String> {
    let text = fs::read_to_string(bench.path(run).join("hashes.jsonl")).unwrap();
    text.lines().filter(|line| line.contains("\"hashes\"")).map(str::to_string).collect()
}

/// Verifies a run that is not reproduced, and returns what is said.
fn differs(bench: &Bench, args: &[&str]) -> String {
    let output = bench.run(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
    assert!(error.contains("is not reproduced"), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Names and bytes of all files in a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![];
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(files(&entry.path())),
            false => all.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn a_run_is_reproduced_to_the_bit_and_another_one_is_not() {
    let bench = Bench::new();
    bench.train("sasrec", "run", &["--set=log.every=2"]);
    let before = files(&bench.path("run"));
    let text = bench.ok(&["verify", "run", "--epochs=2"]);
    assert!(text.contains("verdict  equal to the bit\n"), "{text}");
    assert!(text.contains("compared epochs 1 to 2, ") && text.contains(" readings of the parameters"), "{text}");
    assert!(files(&bench.path("run")) == before, "the run is another one now");

    let text = bench.ok(&["verify", "run", "--set=log.every=4"]);
    assert!(text.contains("verdict  equal to the bit\n"), "{text}");

    let text = differs(&bench, &["verify", "run", "--set=seed=2"]);
    assert!(text.contains("seed: 2 in place of 1"), "{text}");
    assert!(text.contains("verdict  different before the first step: item_embedding and "), "{text}");
    let text = differs(&bench, &["verify", "run", "--set=train.lr=0.011"]);
    assert!(text.contains("verdict  different from one of the steps 1 to 2 on: item_embedding and "), "{text}");

    // One bit: i4 in place of i5, in one event.
    let mut data = fs::read(bench.path("data.csv")).unwrap();
    let at = data.windows(4).position(|part| part == b",i5,").unwrap();
    data[at + 2] ^= 1;
    fs::write(bench.path("flipped.csv"), data).unwrap();
    let text = differs(&bench, &["verify", "run", "--data=flipped.csv"]);
    assert!(text.contains("the data are not those of the run"), "{text}");
    assert!(text.contains("verdict  different from one of the steps "), "{text}");

    // A hash of one parameter at one reading.
    let path = bench.path("run").join("hashes.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let name = lines[0]["parameters"][3].as_str().unwrap().to_string();
    let line = lines.iter_mut().find(|line| line["step"] == 4).expect("an epoch has 4 steps");
    line["hashes"][3] = "0123456789abcdef".into();
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    // The repetition starts from the same parameters and has the same losses.
    let text = bench.ok(&["verify", "run"]);
    assert!(text.contains(&format!("the bits differ from one of the steps 3 to 4 on: {name}\n")), "{text}");
    assert!(text.contains("verdict  equal within tolerance: the loss within 0.0e0 of itself"), "{text}");

    fs::remove_file(&path).unwrap();
    let text = bench.ok(&["verify", "run", "--epochs=9"]);
    assert!(text.contains("the run has no hashes; the loss and the metrics of each epoch, the checkpoint"), "{text}");
    assert!(text.contains("verdict  equal to the bit\n"), "{text}");
    let text = differs(&bench, &["verify", "run", "--set=seed=2"]);
    assert!(text.contains("verdict  different from one of the steps 1 to "), "{text}");
}

#[test]
fn a_training_that_is_resumed_has_the_hashes_of_one_that_was_not() {
    let bench = Bench::new();
    bench.train("pomrec", "whole", &["--set=train.accumulate=2"]);
    bench.train("pomrec", "parts", &["--set=train.accumulate=2", "--set=train.epochs=1"]);
    let resumed = ["train", "pomrec", "--resume", "--out=parts", "--set=train.epochs=3"];
    bench.ok(&resumed);
    assert_eq!(readings(&bench, "parts"), readings(&bench, "whole"));
    // Every 5 steps, at the end of an epoch, and once before the first step.
    let steps: Vec<u64> = readings(&bench, "whole")
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap())
        .collect();
    assert!(steps.starts_with(&[0, 5]) && steps.is_sorted() && steps.len() > 5, "{steps:?}");
    let text = bench.ok(&["verify", "parts", "--epochs=3"]);
    assert!(text.contains("verdict  equal to the bit\n"), "{text}");
}

#[test]
fn each_phase_is_repeated_from_what_the_run_has_of_the_earlier_ones() {
    let bench = Bench::new();
    bench.train("timirec", "run", &[]);
    let text = bench.ok(&["verify", "run"]);
    assert_eq!(text.matches("verdict  equal to the bit\n").count(), 2, "{text}");
    assert_eq!(text.matches("phase    ").count(), 2, "{text}");
    // Where the first differs, the second has nothing to be compared by, and it is said.
    let text = differs(&bench, &["verify", "run", "--set=seed=2"]);
    assert!(text.contains("is not verified: a phase before it differs\n"), "{text}");
    bench.train("pop", "counted", &[]);
    let text = bench.ok(&["verify", "counted"]);
    assert!(text.contains("compared the parameters of the model, which counts"), "{text}");
    assert!(text.contains("verdict  equal to the bit\n"), "{text}");
}

#[test]
fn hashes_that_are_cut_or_broken_do_not_pass() {
    let bench = Bench::new();
    bench.train("sasrec", "run", &["--set=train.epochs=1"]);
    let hashes = bench.path("run/hashes.jsonl");
    let whole = fs::read_to_string(&hashes).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    // A kill may cut the last line short, which then is not there.
    fs::write(&hashes, whole.trim_end().rsplit_once(',').unwrap().0).unwrap();
    assert!(bench.ok(&["verify", "run"]).contains("verdict  equal to the bit\n"));
    // A reading without its last hash.
    let fewer = lines[1].rsplit_once(",\"").unwrap().0.to_string() + "]}";
    fs::write(&hashes, [&[lines[0], &fewer], &lines[2..]].concat().join("\n") + "\n").unwrap();
    let text = differs(&bench, &["verify", "run"]);
    assert!(text.contains("verdict  different before the first step: "), "{text}");
    fs::write(&hashes, [&lines[..2], &["{\"step\": 3"], &lines[2..]].concat().join("\n") + "\n").unwrap();
    let error = bench.refuses(&["verify", "run"]);
    assert!(error.contains("hashes.jsonl:3: found ") && error.contains("expected a line of hashes"), "{error}");
}

#[test]
fn what_cannot_be_verified_is_refused() {
    let bench = Bench::new();
    bench.train("sasrec", "run", &["--set=train.epochs=1"]);
    assert!(bench.refuses(&["verify", "run", "--epochs=0"]).contains("--epochs: found 0; expected at least 1"));
    assert!(bench.refuses(&["verify", "none"]).contains("no run is here"));
    assert!(bench.refuses(&["verify", "run", "--set=train.lrr=1"]).contains("train.lr"));
    fs::remove_file(bench.path("run/metrics.jsonl")).unwrap();
    assert!(bench.refuses(&["verify", "run"]).contains("found no finished epoch"));
    fs::remove_file(bench.path("data.csv")).unwrap();
    assert!(bench.refuses(&["verify", "run"]).contains("leads nowhere"));
}
