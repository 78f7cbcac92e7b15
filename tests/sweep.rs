//! `wgrec sweep` as people run it: many small trainings from one file, resumed after a stop, and files that are refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A world and a training that take moments.
const SMALL: &str = "
[settings]
device = \"cpu\"
data.max_len = 6
train.batch = 32
train.max_steps = 4
log.every = 1
world = { users = 60, items = 60, clusters = 8, length_min = 5, length_median = 8, length_max = 20 }
";

/// A folder with a sweep's file in it, where the program runs.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// `head` comes before the small settings, `varied` after them.
    fn new(head: &str, varied: &str) -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        bench.write(&format!("{head}{SMALL}{varied}"));
        bench
    }

    fn write(&self, text: &str) {
        fs::write(self.path("sweep.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_wgrec")).args(args).current_dir(self.folder.path()).output().unwrap()
    }

    /// Runs the sweep, which must end with `code`; what it prints, and its errors.
    fn sweep(&self, code: i32, more: &[&str]) -> (String, String) {
        let output = self.run(&[&["sweep", "sweep.toml"], more].concat());
        let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(output.status.code(), Some(code), "{out}\n{error}");
        (out, error)
    }

    /// The rows of sweep.csv, each by column.
    fn rows(&self) -> Vec<BTreeMap<String, String>> {
        let mut csv = csv::Reader::from_path(self.path("runs/sweep/sweep.csv")).unwrap();
        csv.deserialize().map(|row| row.unwrap()).collect()
    }

    fn trial(&self, name: &str) -> PathBuf {
        self.path("runs/sweep").join(name)
    }
}

#[test]
fn a_grid_is_trained_gone_on_with_and_summed_up() {
    let bench = Bench::new("model = \"sasrec\"", "[grid]\n\"model.dim\" = [8, 16]\nmodel.layers = [1, 2]\n");
    let (printed, _) = bench.sweep(0, &[]);
    assert!(printed.contains("4 trials, 0 of them done before"), "{printed}");
    let rows = bench.rows();
    let names: Vec<&str> = rows.iter().map(|row| row["folder"].as_str()).collect();
    let expected = ["dim=8,layers=1", "dim=8,layers=2", "dim=16,layers=1", "dim=16,layers=2"];
    assert_eq!(names, expected.map(|name| format!("{name},seed=1")));
    for row in &rows {
        let text = fs::read_to_string(bench.trial(&row["folder"]).join("metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
        for part in ["valid", "test"] {
            let figure = metrics[part]["ndcg@10"].as_f64().unwrap();
            assert_eq!(row[&format!("{part} ndcg@10")], format!("{figure:.6}"), "{row:?}");
        }
        assert_eq!(metrics["settings"]["model"]["dim"].to_string(), row["model.dim"]);
        assert_eq!(metrics["steps"], 4);
    }
    // Chosen by validation, whatever the test says.
    let number = |row: &BTreeMap<String, String>, column: &str| row[column].parse::<f64>().unwrap();
    let best = rows.iter().max_by(|a, b| number(a, "valid ndcg@10").total_cmp(&number(b, "valid ndcg@10"))).unwrap();
    let line = format!("best     model.dim={} model.layers={}: valid", best["model.dim"], best["model.layers"]);
    assert!(printed.contains(&line), "no {line:?} in\n{printed}");
    let table = printed.split("\n\n").nth(1).unwrap();
    assert!(table.lines().nth(1).unwrap().ends_with(&best["folder"]), "{table}");
    let svg = fs::read_to_string(bench.path("runs/sweep/sweep.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in ["model.dim\n", "model.layers\n", "model.layers=2\n", "ndcg@10\n"] {
        assert!(svg.contains(text), "no {text:?} in the plot");
    }

    // A trial is what `wgrec train` makes of the same settings.
    let model = |name: &str| fs::read(bench.trial(name).join("model.safetensors")).unwrap();
    let config = bench.trial(names[3]).join("config.toml");
    let alone = bench.run(&["train", "sasrec", "--out", "alone", "--config", config.to_str().unwrap()]);
    assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
    assert!(fs::read(bench.path("alone/model.safetensors")).unwrap() == model(names[3]));

    // One trial is gone, one was stopped before its test: both are done again, and nothing else is.
    let (gone, stopped, kept) = (names[1], names[2], names[0]);
    let before = [gone, stopped].map(model);
    let written = |name: &str| fs::metadata(bench.trial(name).join("metrics.json")).unwrap().modified().unwrap();
    let time = written(kept);
    fs::remove_dir_all(bench.trial(gone)).unwrap();
    fs::remove_file(bench.trial(stopped).join("metrics.json")).unwrap();
    let (printed, _) = bench.sweep(0, &[]);
    assert!(printed.contains("4 trials, 2 of them done before"), "{printed}");
    assert!(before == [gone, stopped].map(model));
    assert_eq!(written(kept), time);
    let timeless = |mut rows: Vec<BTreeMap<String, String>>| {
        rows.iter_mut().for_each(|row| drop(row.remove("seconds")));
        rows
    };
    assert_eq!(timeless(bench.rows()), timeless(rows.clone()));

    // Other settings are another sweep; how it is computed is not.
    for (set, problem) in [
        ("train.lr=0.5", "train.lr is 0.001 in the run in"),
        ("train.max_steps=5", "train.max_steps is 4 in the run in"),
        ("eval.metric=mrr", "eval.metric is \"ndcg@10\" in the run in"),
        ("model.dim=8", "--set model.dim=8: model.dim is varied in sweep.toml"),
        ("model={dim=8}", "model is varied in sweep.toml"),
    ] {
        let (_, error) = bench.sweep(2, &["--set", set]);
        assert!(error.contains(problem), "{set}: {error}");
    }
    assert_eq!(timeless(bench.rows()), timeless(rows));
    let (printed, _) = bench.sweep(0, &["--set=train.threads=0"]);
    assert!(printed.contains("4 of them done before"), "{printed}");
    let text = fs::read_to_string(bench.path("sweep.toml")).unwrap();
    bench.write(&text.replace("sasrec", "gru4rec"));
    let (_, error) = bench.sweep(2, &[]);
    assert!(error.contains("found \"sasrec\"; expected a run of gru4rec"), "{error}");
}

#[test]
fn trials_that_pre_train_alike_share_a_backbone() {
    let varied = "model = { dim = 8, prompt.tokens = 2 }\nphase.pretrain = { batch = 32, max_steps = 4 }\n\
                  [curves]\nmodel.prompt.tokens = [2, 3]\nmodel.layers = [2, 1]\nphase.tune.lr = [1e-3, 1e-2]\n\
                  phase.pretrain.lr = [1e-3, 1e-2]\nloss.temperature = [1.0, 2.0]\n";
    let bench = Bench::new("model = \"dpcpl\"\nseeds = [1, 2]", varied);
    let (printed, _) = bench.sweep(0, &[]);
    assert!(printed.contains("12 trials, 0 of them done before"), "{printed}");
    let rows = bench.rows();
    let name = |row: &BTreeMap<String, String>| row["folder"].clone();
    let file = |folder: &Path, file: &str| fs::read(folder.join(file)).unwrap();
    let first = |seed: &str| bench.trial(&rows.iter().find(|row| row["seed"] == seed).unwrap()["folder"]);
    let mut shared = vec![];
    for row in &rows {
        let (trial, first) = (bench.trial(&name(row)), first(&row["seed"]));
        let another = row["model.prompt.tokens"] == "3" || row["phase.tune.lr"] == "0.01";
        assert_eq!(trial.join("pretrain.json").is_file(), !another, "{row:?}");
        let same = file(&trial, "model.safetensors") == file(&first, "model.safetensors");
        assert_eq!(same, another || trial == first, "{row:?}");
        shared.extend(another.then(|| name(row)));
    }
    assert_eq!(shared.len(), 4);

    // A trial is what both phases come to in one folder.
    let shared = shared[0].as_str();
    let (trial, prompts) = (bench.trial(shared), "prompts.buy.safetensors");
    let text = fs::read_to_string(trial.join("config.toml")).unwrap();
    let both = text.lines().filter(|line| !["from = ", "phases = "].iter().any(|key| line.starts_with(key)));
    fs::write(bench.path("both.toml"), both.collect::<Vec<_>>().join("\n")).unwrap();
    let train = |more: &[&str]| {
        let output = bench.run(&[&["train", "dpcpl"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    train(&["--out", "alone", "--config", "both.toml"]);
    for part in ["model.safetensors", prompts] {
        assert!(file(&bench.path("alone"), part) == file(&trial, part), "{part}");
    }
    // It lends its backbone as any run does.
    train(&["--from", trial.to_str().unwrap(), "--out", "tuned"]);
    assert!(file(&bench.path("tuned"), prompts) == file(&trial, prompts));

    // Stopped before its test, it resumes with the backbone that it took, wherever that came from and the sweep lies.
    fs::remove_file(trial.join("metrics.json")).unwrap();
    fs::remove_dir_all(first("1")).unwrap();
    fs::rename(bench.path("runs"), bench.path("moved")).unwrap();
    let (printed, _) = bench.sweep(0, &["--out", "moved/sweep"]);
    assert!(printed.contains("12 trials, 10 of them done before"), "{printed}");
    fs::rename(bench.path("moved"), bench.path("runs")).unwrap();
    for (row, was) in bench.rows().iter().zip(&rows) {
        assert_eq!((name(row), &row["test ndcg@10"]), (name(was), &was["test ndcg@10"]));
    }
    let (_, error) = bench.sweep(2, &["--set", "phase.pretrain.batch=16"]);
    assert!(error.contains("phase.pretrain.batch is 32 in the run in"), "{error}");

    // A backbone from elsewhere is not the sweep's.
    fs::remove_dir_all(&trial).unwrap();
    train(&["--from", "alone", "--out", trial.to_str().unwrap()]);
    let (_, error) = bench.sweep(2, &[]);
    assert!(error.contains("alone, which is no trial of this sweep"), "{error}");
}

#[test]
fn a_trial_that_fails_stops_no_other() {
    let varied = "[curves]\ntrain.lr = [1e30, 1e-3]\ntrain.batch = [16, 64]\n";
    let bench = Bench::new("model = \"sasrec\"\nmetric = \"recall@20\"\nseeds = [1, 2]", varied);
    let (printed, error) = bench.sweep(1, &[]);
    assert!(error.contains("2 of 8 trials failed"), "{error}");
    assert!(printed.contains("the loss is"), "{printed}");
    assert!(printed.contains("means of 2 seeds"), "{printed}");
    let rows = bench.rows();
    assert_eq!(rows.len(), 8);
    for row in &rows {
        let failed = row["train.lr"] == "1e+30";
        assert_eq!(row["valid recall@20"].is_empty(), failed, "{row:?}");
        assert_eq!(row["error"].is_empty(), !failed, "{row:?}");
    }
    // Those that failed are tried again.
    let (printed, _) = bench.sweep(1, &[]);
    assert!(printed.contains("8 trials, 6 of them done before"), "{printed}");
}

#[test]
fn random_draws_are_added_to() {
    let varied = "[random]\ntrials = 2\nmodel.ridge = { min = 10.0, max = 1000.0, log = true }\n";
    let bench = Bench::new("model = \"ease\"", varied);
    bench.sweep(0, &[]);
    let first = bench.rows();
    let text = fs::read_to_string(bench.path("sweep.toml")).unwrap();
    bench.write(&text.replace("trials = 2", "trials = 4"));
    let (printed, _) = bench.sweep(0, &[]);
    assert!(printed.contains("4 trials, 2 of them done before"), "{printed}");
    assert_eq!(bench.rows()[..2], first);
}

#[test]
fn wrong_files_are_refused_and_leave_nothing() {
    let grid = "[grid]\nmodel.dim = [8, 16]\n";
    let random = |range: &str| format!("model = \"sasrec\"\n[random]\ntrials = 2\nmodel.dropout = {range}\n");
    let sasrec = |more: &str| format!("model = \"sasrec\"\n{more}");
    let bench = Bench::new("", "");
    for (text, problem) in [
        (grid.to_string(), "sweep.toml: model: found nothing; expected the name of a model"),
        (format!("modle = \"sasrec\"\n{grid}"), "sweep.toml:1: there is no \"modle\" in a sweep; did you mean model?"),
        (format!("model = \"sasrek\"\n{grid}"), "sweep.toml:1: no model is called \"sasrek\"; expected one of"),
        (format!("model = \"sasrek\"\n{grid}"), "did you mean sasrec?"),
        (format!("model = 3\n{grid}"), "sweep.toml:1: model: found 3; expected the name of a model"),
        (sasrec(&format!("metric = \"auc\"\n{grid}")), "sweep.toml:2: metric: found \"auc\"; expected recall@K"),
        (sasrec(&format!("metric = \"ndcg@7\"\n{grid}")), "found metric ndcg@7, which it does not report"),
        (sasrec(&format!("seeds = []\n{grid}")), "sweep.toml:2: seeds: found []; expected a list of whole numbers"),
        (sasrec(&format!("seeds = [-1]\n{grid}")), "sweep.toml:2: seeds: found [-1]; expected"),
        (
            sasrec("[settings]\ntrain.lr = 0.1\n"),
            "sweep.toml: found none; expected one of [grid], [curves] and [random]",
        ),
        (sasrec(&format!("{grid}[curves]\nmodel.dim = [8]\n")), "found curves and grid; expected one of [grid]"),
        (sasrec("[grid]\n"), "sweep.toml:2: grid: found nothing; expected settings to vary"),
        (
            sasrec("[grid]\n\"model.dims\" = [8]\n"),
            "sweep.toml:3: there is no setting \"model.dims\"; did you mean model.dim?",
        ),
        (
            sasrec("[grid]\nmodel.dims = [8]\n"),
            "sweep.toml:3: there is no setting \"model.dims\"; did you mean model.dim?",
        ),
        (
            sasrec("[grid]\nmodel.dim = []\n"),
            "sweep.toml:3: model.dim: found []; expected a list of values, one at least",
        ),
        (sasrec("[grid]\nmodel.dim = 8\n"), "sweep.toml:3: model.dim: found 8; expected a list of values"),
        (
            sasrec("[grid]\nmodel.dim = [8, \"wide\"]\n"),
            "sweep.toml:3: model.dim: found \"wide\"; expected a whole number",
        ),
        (
            sasrec("[grid]\nmodel.dim = { min = 1, max = 2 }\n"),
            "sweep.toml:3: model.dim: found { max = 2, min = 1 }; expected a list",
        ),
        (sasrec("[grid]\nseed = [1, 2]\n"), "sweep.toml:3: seed: found [1, 2]; expected other settings; seeds = [..]"),
        (
            sasrec(&format!("[settings]\ntrain.epoch = 3\n{grid}")),
            "sweep.toml:3: there is no setting \"train.epoch\"; here it is train.epochs",
        ),
        (sasrec(&format!("[settings.model]\ndim = 3\n{grid}")), "sweep.toml:3: model.dim is varied below"),
        (sasrec(&format!("seeds = [1]\n[settings]\nseed = 3\n{grid}")), "sweep.toml:4: seed is varied below"),
        (
            sasrec("[grid]\nmodel.heads = [1, 3]\n"),
            "trial heads=3,seed=1: model.heads: found 3; expected a divisor of model.dim, 64",
        ),
        (sasrec("[grid]\ndata.max_len = [1000000]\n"), "trial max_len=1000000,seed=1: train.batch x data.max_len"),
        (
            sasrec("[random]\nmodel.dim = [8]\n"),
            "sweep.toml:2: trials: found nothing; expected a whole number from 1 to 10000",
        ),
        (random("{ min = 0.5, max = 0.1 }"), "numbers, min below max, and above 0 where log = true"),
        (random("{ min = 0.0, max = 0.1, log = true }"), "numbers, min below max, and above 0 where log = true"),
        (
            random("{ min = 0.0, most = 0.1 }"),
            "sweep.toml:4: model.dropout: found { min = 0.0, most = 0.1 }; expected a list of values",
        ),
        (random("{ min = 0.0, max = \"high\" }"), "sweep.toml:4: model.dropout: found \"high\"; expected a number"),
        (
            sasrec("[random]\ntrials = 2\nmodel.dim = { min = 1, max = 1.5 }\n"),
            "model.dim: found 1.5; expected a whole",
        ),
        (
            sasrec(&format!("[grid]\ntrain.no_decay = [[\"{}\"]]\n", "a".repeat(300))),
            "bytes; expected at most 255: vary fewer",
        ),
        (
            sasrec("[grid]\neval.metric = [\"mrr\"]\ntrain.no_decay = [[\"a/b\"], [\"a:b\"]]\n"),
            "two trials of different settings",
        ),
        (
            sasrec(&format!("seeds = {:?}\n[grid]\nmodel.dim = {:?}", [1; 101], [8; 100])),
            "found 10100 trials; expected at most 10000",
        ),
        (sasrec("[grid\n"), "sweep.toml:2:"),
    ] {
        bench.write(&text);
        let (printed, error) = bench.sweep(2, &["--device=cpu"]);
        assert!(error.starts_with("error: ") && error.contains(problem), "no {problem:?} of\n{text}\n{error}");
        assert!(!printed.contains("trial "), "{text}: {printed}");
        assert!(!bench.path("runs").exists(), "{text}");
    }
    bench.write(&sasrec(grid));
    let (_, error) = bench.sweep(2, &["--data=nowhere.csv"]);
    assert!(error.contains("nowhere.csv"), "{error}");
    assert!(!bench.path("runs").exists());
}
