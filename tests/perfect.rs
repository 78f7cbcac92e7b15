//! A test in which every target comes first is questioned: mostly a leak, or a device that computes nothing.

use std::fs;
use std::process::Command;

/// Users who go round twelve items, each from another one on: what comes next is certain.
fn cycles() -> String {
    let event = |user: usize, at: usize| format!("u{user},i{},{}\n", (user + at) % 12, 1_600_000_000 + 60 * at);
    let events = (0..48).flat_map(|user| (0..7).map(move |at| event(user, at)));
    ["user,item,timestamp\n".to_string()].into_iter().chain(events).collect()
}

#[test]
fn a_perfect_test_is_questioned() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cycles.csv"), cycles()).unwrap();
    let train = |steps: &str, out: &str| {
        let settings =
            ["model.dim=16", "data.max_len=6", "train.batch=16", "train.lr=0.02", "loss.kind=softmax", steps];
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgrec"));
        command.current_dir(folder.path()).env("WGREC_CACHE", folder.path().join("cache"));
        command.args(["train", "gru4rec", "--data", "cycles.csv", "--device=cpu", "--out", out]);
        settings.iter().for_each(|s| _ = command.args(["--set", s]));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let warning = "WARNING: every target is ranked first";
    let learned = train("train.max_steps=400", "learned");
    assert!(learned.contains("ndcg@10 1.0000") && learned.contains(warning), "{learned}");
    let begun = train("train.max_steps=1", "begun");
    assert!(!begun.contains(warning), "{begun}");
}
