//! Run folders of the first format are read: a plain model's, and that of a training in two phases for two behaviours.

mod program;

use program::Bench;
use std::fs;
use std::path::Path;

const MADE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/format-1");

/// The settings of both runs.
const BOTH: [&str; 7] = [
    "--device=cpu",
    "--data=data.csv",
    "--set=data.max_len=4",
    "--set=model.dim=4",
    "--set=train.batch=16",
    "--set=eval.batch=32",
    "--set=log.every=5",
];

/// The two-phase run's, as they are written today.
const PHASES: [&str; 9] = [
    "--set=model.layers=1",
    "--set=model.blocks=2",
    "--set=model.prompt.tokens=2",
    "--set=model.prompt.factors=2",
    "--set=phase.pretrain.epochs=3",
    "--set=phase.pretrain.lr=0.02",
    "--set=phase.tune.lr=0.01",
    "--set=phase.tune.temperature=2",
    "--set=data.target=buy",
];

/// A folder with copies of the runs and their data.
fn bench() -> Bench {
    let bench = Bench::new();
    copy(Path::new(MADE), bench.folder.path());
    bench
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// The folders' metrics.json say what their runs came to.
#[test]
fn eval_recommend_and_compare_read_them() {
    let bench = bench();
    for (run, more, metrics) in [
        ("sasrec", &[][..], "sasrec/metrics.json"),
        ("dpcpl", &[], "dpcpl/metrics.json"),
        ("dpcpl", &["--behaviour=cart"], "dpcpl/metrics.cart.json"),
    ] {
        let before = bench.json(metrics);
        let told = bench.ok(&[&["eval", "--run", run], more].concat());
        for metric in ["ndcg@5", "ndcg@10", "recall@5", "mrr"] {
            let line = format!("{metric:<12} {:.4} ", before["test"][metric].as_f64().unwrap());
            assert!(told.contains(&line), "{run} {more:?}: no {line:?} in {told}");
        }
        bench.ok(&[&["recommend", "--run", run, "--output=lists.csv"], more].concat());
        assert!(fs::read_to_string(bench.path("lists.csv")).unwrap().lines().count() > 24);
        assert_eq!(bench.json(metrics), before);
    }
    let told = bench.ok(&["compare", "dpcpl", "dpcpl", "--behaviour=cart"]);
    assert!(told.contains("leave-one-out of cart"), "{told}");
}

#[test]
fn they_are_resumed_as_if_begun_today() {
    let bench = bench();
    bench.ok(&["train", "sasrec", "--resume", "--out=sasrec", "--set=train.epochs=5"]);
    bench.ok(&[
        &["train", "sasrec", "--out=new", "--set=train.lr=0.01", "--set=train.epochs=5", "--set=loss.kind=bce"],
        &BOTH[..],
    ]
    .concat());
    assert!(bench.model("sasrec") == bench.model("new"));
    assert_eq!(bench.lines("sasrec"), bench.lines("new"));

    bench.ok(&["train", "dpcpl", "--resume", "--out=dpcpl", "--set=train.epochs=4"]);
    let (four, both) = (["--set=phase.tune.epochs=4", "--set=loss.kind=bpr"], ["train", "dpcpl", "--out=two"]);
    bench.ok(&[&both[..], &BOTH, &PHASES, &four].concat());
    for file in ["model.safetensors", "prompts.buy.safetensors"] {
        assert!(
            fs::read(bench.path("dpcpl").join(file)).unwrap() == fs::read(bench.path("two").join(file)).unwrap(),
            "{file}"
        );
    }
    // Lines of before have no reported values.
    let lines = |run: &str| {
        let mut lines = bench.lines(run);
        lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("reported")));
        lines
    };
    assert_eq!(lines("dpcpl"), lines("two"));
    // From then on the settings are written in today's words.
    let config = fs::read_to_string(bench.path("dpcpl/config.toml")).unwrap();
    assert!(
        config.starts_with("format = 2\n") && config.contains("[phase.pretrain]") && !config.contains("[pretrain]")
    );
    bench.ok(&["eval", "--run=dpcpl"]);
    // What the first phase had for itself stays its own.
    let error = bench.refuses(&["train", "dpcpl", "--resume", "--out=dpcpl", "--set=phase.pretrain.epochs=9"]);
    assert!(error.contains("phase.pretrain.epochs is 3 in the run in dpcpl, not 9"), "{error}");
}

#[test]
fn phases_are_taken_from_them() {
    let bench = bench();
    bench.ok(&["train", "dpcpl", "--from=dpcpl", "--set=data.target=click"]);
    bench.ok(&["eval", "--run=dpcpl", "--behaviour=click"]);
    bench.ok(&["train", "dpcpl", "--from=dpcpl", "--out=again"]);
    let prompts = |run: &str| fs::read(bench.path(run).join("prompts.buy.safetensors")).unwrap();
    let tensors = |file: Vec<u8>| {
        let file = safetensors::SafeTensors::deserialize(&file).unwrap();
        let mut all: Vec<_> = file.tensors().into_iter().map(|(name, t)| (name, t.data().to_vec())).collect();
        all.sort();
        all
    };
    assert!(tensors(prompts("again")) == tensors(prompts("dpcpl")));
    assert_eq!(bench.json("again/metrics.json")["test"], bench.json("dpcpl/metrics.json")["test"]);
}

/// A folder of a later version, and words of the first in what a user writes today.
#[test]
fn other_formats_are_refused_with_what_to_do() {
    let bench = bench();
    let config = fs::read_to_string(bench.path("sasrec/config.toml")).unwrap();
    for (format, found) in [("format = 3\n", "found 3; expected at most 2"), ("format = \"x\"\n", "found \"x\"")] {
        fs::write(bench.path("sasrec/config.toml"), format.to_string() + &config).unwrap();
        for args in [
            &["eval", "--run=sasrec"][..],
            &["recommend", "--run=sasrec", "--output=lists.csv"],
            &["compare", "sasrec", "sasrec"],
            &["train", "sasrec", "--resume", "--out=sasrec"],
            &["train", "sasrec", "--config=sasrec/config.toml", "--out=new"],
        ] {
            let error = bench.refuses(args);
            assert!(error.contains("config.toml: format: ") && error.contains(found), "{args:?}: {error}");
            assert!(error.contains("read it with that"), "{error}");
        }
    }
    let train = ["train", "dpcpl", "--data=data.csv", "--out=new"];
    for (more, problem) in [
        ("--set=pretrain.lr=1", "pretrain.lr: it is phase.pretrain.lr now; what is not set there is as in train"),
        ("--set=pretrain={lr=1}", "pretrain.lr: it is phase.pretrain.lr now"),
        ("--set=phase=tune", "phase: the phases to run are named by phases, as in phases=[\"tune\"]"),
        ("--config=dpcpl/config.toml", "dpcpl/config.toml:"),
        ("--set=phase.tune.lrr=1", "there is no setting \"phase.tune.lrr\"; did you mean phase.tune.lr?"),
        ("--set=phase.tune.lr=fast", "phase.tune.lr: found \"fast\"; expected a number above 0"),
        ("--set=phase.tune.lr=0", "phase.tune.lr: found 0; expected a number above 0"),
        ("--set=phase.tune=3", "phase.tune: found 3; expected a table of settings"),
        ("--set=phase.tun.lr=1", "phase.tun: expected a phase of dpcpl: pretrain, tune"),
        ("--set=phases=tune", "phases: found \"tune\"; expected a list"),
    ] {
        let error = bench.refuses(&[&train[..], &[more]].concat());
        assert!(error.contains(problem), "{more}: {error}");
        assert!(!bench.path("new").exists());
    }
}
