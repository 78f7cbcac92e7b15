//! The program in a folder of its own, with a small data set.

#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder with a data set in it, where the program runs.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

/// Small and quick, and every part of a training is in it; for PoMRec. see [`fitting`].
pub const SMALL: &[&str] = &[
    "--data=data.csv",
    "--device=cpu",
    "--set=data.max_len=6",
    "--set=model.dim=32",
    "--set=model.interests=2",
    "--set=train.batch=32",
    "--set=train.epochs=3",
    "--set=train.lr=0.01",
    "--set=eval.batch=32",
    "--set=log.every=5",
];

impl Bench {
    pub fn new() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        fs::write(bench.path("data.csv"), interactions(60, 1)).unwrap();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgrec"));
        command.args(args).current_dir(self.folder.path()).env("WGREC_CACHE", self.path("cache"));
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs the program and returns what it prints.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the program, which must refuse with exit code 2 and one clear line; returns the line.
    pub fn refuses(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.starts_with("error: "), "{args:?}: {error}");
        assert!(!error.contains("panicked"), "{args:?}: {error}");
        error
    }

    /// Trains with the small settings and `more`.
    pub fn train(&self, model: &str, out: &str, more: &[&str]) -> String {
        self.ok(&small(model, out, more))
    }

    pub fn json(&self, file: &str) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path(file)).unwrap()).unwrap()
    }

    /// The lines of metrics.jsonl without times.
    pub fn lines(&self, run: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(run).join("metrics.jsonl")).unwrap();
        let parse = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields = line.as_object_mut().unwrap();
            fields.retain(|name, _| !name.contains("second"));
            line
        };
        text.lines().map(parse).collect()
    }

    pub fn model(&self, run: &str) -> Vec<u8> {
        fs::read(self.path(run).join("model.safetensors")).unwrap()
    }
}

/// The arguments of a small training, with `more` instead of those of the same name.
pub fn small<'a>(model: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let name = |arg: &str| arg.split('=').next().unwrap_or_default().to_string();
    let given = |arg: &str| arg != "--set" && more.iter().any(|other| name(other) == arg);
    let mut args = vec!["train", model];
    if !given("--out") {
        args.extend(["--out", out]);
    }
    args.extend(fitting(model, SMALL).into_iter().filter(|arg| !given(&name(arg))));
    args.extend(more);
    args
}

/// The arguments without those that set what `model` has not. A model that is pre-trained on other data, and knows items by what
/// is known of them, is trained on these alone; one that is trained by tasks has two of items.
pub fn fitting<'a>(model: &str, args: &[&'a str]) -> Vec<&'a str> {
    let has = |key: &str| wgrec::models::spec::find(model).is_ok_and(|spec| spec.has(key));
    let fits = |arg: &&str| {
        let key = arg.strip_prefix("--set=model.").and_then(|setting| setting.split('=').next());
        key.is_none_or(has)
    };
    let alone = ["--set=model.adapt=gb", "--set=model.features=[]"].into_iter().filter(|_| has("adapt"));
    let tasks = "--set=model.task=[{name = \"next\", label = \"item\"}, {name = \"again\", label = \"item\"}]";
    let of_tasks = [tasks].into_iter().filter(|_| has("task"));
    let of_tasks = of_tasks.chain(["--set=model.prompted=3"].into_iter().filter(|_| has("prompted")));
    args.iter().copied().filter(fits).chain(alone).chain(of_tasks).collect()
}

/// Users with 10 events each over 40 items, the next item often the one after the last.
pub fn interactions(users: u32, seed: u32) -> String {
    let mut text = "user,item,rating,timestamp\n".to_string();
    let mut state = seed;
    let mut draw = |n: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % n
    };
    for user in 0..users {
        let mut item = draw(40);
        for event in 0..10 {
            text += &format!("u{user},i{item},{},{}\n", 1 + draw(5), 1_000_000_000 + event * 60);
            item = if draw(4) == 0 { draw(40) } else { (item + 1) % 40 };
        }
    }
    text
}
