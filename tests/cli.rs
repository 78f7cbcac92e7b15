//! The program as people run it: what it writes, what it refuses, and that a run which is killed comes to the same end.

mod program;

use program::{Bench, SMALL, fitting, interactions, small};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

#[test]
fn trains_evaluates_and_recommends() {
    let bench = Bench::new();
    let printed = bench.train("pomrec", "run", &[]);
    for heading in
        ["device   cpu", "data     data.csv: 60 users, 40 items", "model    pomrec:", "epoch 3", "test     recall@5"]
    {
        assert!(printed.contains(heading), "no {heading:?} in\n{printed}");
    }
    for file in ["config.toml", "metrics.jsonl", "users.tsv", "items.tsv", "checkpoint/last.safetensors"] {
        assert!(bench.path("run").join(file).is_file(), "no {file}");
    }
    let metrics = bench.json("run/metrics.json");
    let keys = "model data split protocol test valid epochs best_epoch train_seconds samples_per_second device seed parameters wgrec";
    for key in keys.split(' ') {
        assert!(!metrics[key].is_null(), "no {key} in {metrics}");
    }
    assert_eq!(metrics["data"]["users"], 60);
    assert_eq!(metrics["epochs"], 3);
    assert_eq!(bench.lines("run").len(), 3);

    // What eval finds is what the training found.
    let evaluated = bench.ok(&["eval", "--run", "run"]);
    for metric in ["recall@10", "precision@10", "map@10", "mrr"] {
        let line = format!("{metric:<12} {:.4}", metrics["test"][metric].as_f64().unwrap());
        assert!(evaluated.contains(&line), "no {line:?} in\n{evaluated}");
    }
    let valid = bench.ok(&["eval", "--run", "run", "--split", "valid"]);
    let best = metrics["valid"]["ndcg@10"].as_f64().unwrap();
    assert!(valid.contains(&format!("ndcg@10      {best:.4}")), "{valid}");
    bench.ok(&["eval", "--run", "run", "--protocol", "sampled:5"]);

    fs::write(bench.path("users.txt"), "u7\nu3\n\nu7\n").unwrap();
    bench.ok(&["recommend", "--run", "run", "--users", "users.txt", "-k", "4", "--output", "recs.csv"]);
    let text = fs::read_to_string(bench.path("recs.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["user", "item", "rank", "score"]);
    let ranks: Vec<_> = rows[1..].iter().map(|row| (row[0], row[2])).collect();
    let expected: Vec<_> =
        ["u7", "u3"].into_iter().flat_map(|user| ["1", "2", "3", "4"].map(|rank| (user, rank))).collect();
    assert_eq!(ranks, expected);
    let data = interactions(60, 1);
    for row in &rows[1..] {
        assert!(!data.contains(&format!("{},{},", row[0], row[1])), "{row:?} is of the history");
    }
    bench.ok(&["recommend", "--run", "run", "--output", "recs.parquet"]);
    let parquet = fs::read(bench.path("recs.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));

    fs::write(bench.path("users.txt"), "u7\nnobody\n").unwrap();
    let error = bench.refuses(&["recommend", "--run", "run", "--users", "users.txt", "--output", "other.csv"]);
    assert!(error.contains("no user \"nobody\""), "{error}");
    let error = bench.refuses(&["recommend", "--run", "run", "--output", "recs.txt"]);
    assert!(error.contains(".csv or .parquet"), "{error}");
    let error = bench.refuses(&["recommend", "--run", "run", "-k", "0", "--output", "other.csv"]);
    assert!(error.contains("expected at least 1"), "{error}");
    assert!(!bench.path("other.csv").exists());
}

/// What is their own goes all the way: an output table with biases, drawn negatives for it, whole histories, a closed form.
#[test]
fn baselines_train_evaluate_and_recommend() {
    let bench = Bench::new();
    let sampled = ["--set=loss.kind=sampled-softmax", "--set=train.negatives=5"];
    for (model, more) in
        [("fmlp", &[][..]), ("stamp", &[]), ("caser", &sampled), ("npe", &[]), ("ease", &["--set=model.ridge=5"])]
    {
        bench.train(model, model, more);
        let found = bench.json(&format!("{model}/metrics.json"))["test"]["mrr"].as_f64().unwrap();
        let evaluated = bench.ok(&["eval", "--run", model]);
        assert!(evaluated.contains(&format!("mrr          {found:.4}")), "{model}: {found}\n{evaluated}");
        bench.ok(&["eval", "--run", model, "--protocol", "sampled:5"]);
        bench.ok(&["recommend", "--run", model, "-k", "4", "--output", "recs.csv"]);
        assert_eq!(fs::read_to_string(bench.path("recs.csv")).unwrap().lines().count(), 1 + 4 * 60, "{model}");
    }
    let error = bench.refuses(&["train", "ease", "--data=data.csv", "--device=cpu", "--set=model.ridge=0"]);
    assert!(error.contains("model.ridge: found 0; expected a number above 0"), "{error}");
}

/// Every user has one target, so that the means of the columns are the metrics of the run.
#[test]
fn values_of_each_user() {
    let bench = Bench::new();
    bench.train("pomrec", "run", &[]);
    let metrics = bench.json("run/metrics.json");
    bench.ok(&["eval", "--run", "run", "--per-user", "users.csv"]);
    let mut csv = csv::Reader::from_path(bench.path("users.csv")).unwrap();
    let head: Vec<String> = csv.headers().unwrap().iter().map(str::to_string).collect();
    assert_eq!(head[..7], ["user", "item", "events", "greater", "equal", "rank", "recall@5"]);
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    let users: Vec<String> = (0..60).map(|user| format!("u{user}")).collect();
    assert_eq!(rows.iter().map(|row| &row[0]).collect::<Vec<_>>(), users);
    assert!(rows.iter().all(|row| &row[2] == "9"));
    for (column, metric) in head.iter().enumerate().skip(6) {
        let mean = rows.iter().map(|row| row[column].parse::<f64>().unwrap()).sum::<f64>() / 60.0;
        let want = metrics["test"][metric].as_f64().unwrap();
        assert!((mean - want).abs() < 1e-12, "{metric}: {mean} is not {want}");
    }
    bench.ok(&["eval", "--run", "run", "--metrics", "precision@3,map@40", "--per-user", "users.csv"]);
    let text = fs::read_to_string(bench.path("users.csv")).unwrap();
    assert_eq!(text.lines().next().unwrap(), "user,item,events,greater,equal,rank,precision@3,map@40");
    for line in text.lines().skip(1) {
        let values: Vec<f64> = line.split(',').skip(5).map(|value| value.parse().unwrap()).collect();
        assert_eq!(values[1..], [if values[0] <= 3.0 { 1.0 / 3.0 } else { 0.0 }, 1.0 / values[0]], "{line}");
    }
    let error = bench.refuses(&["eval", "--run", "run", "--per-user", "."]);
    assert!(error.contains("no ordinary file"), "{error}");
}

/// Without masking, popularity shows everyone the same items: k of 40 in equally many lists.
#[test]
fn lists_that_are_all_the_same() {
    let bench = Bench::new();
    bench.train("pop", "pop", &["--set=eval.mask_history=false"]);
    assert!(!bench.ok(&["eval", "--run", "pop"]).contains("coverage"), "only where they are asked for");
    let printed = bench.ok(&["eval", "--run", "pop", "--lists"]);
    for line in ["coverage@5   0.1250", "gini@5       0.8750", "coverage@20  0.5000", "gini@20      0.5000"] {
        assert!(printed.contains(line), "no {line:?} in\n{printed}");
    }
    let train: Vec<String> = {
        let data = interactions(60, 1);
        let users: Vec<&str> = data.lines().skip(1).collect();
        users.chunks(10).flat_map(|user| user[..8].iter().map(|e| e.split(',').nth(1).unwrap().to_string())).collect()
    };
    let mut counts: Vec<f64> =
        (0..40).map(|i| train.iter().filter(|t| **t == format!("i{i}")).count() as f64).collect();
    counts.sort_by(|a, b| b.total_cmp(a));
    let novelty = counts[..5].iter().map(|n| (train.len() as f64 / n).log2()).sum::<f64>() / 5.0;
    assert!(printed.contains(&format!("novelty@5    {novelty:.4}")), "{novelty}:\n{printed}");
}

#[test]
fn runs_are_compared_over_users() {
    let bench = Bench::new();
    bench.train("pomrec", "a", &["--seed=7"]);
    bench.train("pomrec", "b", &["--seed=8"]);
    bench.train("pop", "pop", &[]);
    let printed = bench.ok(&["compare", "a", "b", "pop", "--json", "all.json"]);
    for part in ["test     60 targets, means over 60 users", "\na - b\n", "\na - pop\n", "p (Wilcoxon)"] {
        assert!(printed.contains(part), "no {part:?} in\n{printed}");
    }
    let line = |first: &str| {
        printed.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()).find(|l| l.first() == Some(&first))
    };
    assert_eq!(line("a").unwrap()[..4], ["a", "pomrec", "bpr", "7"]);
    assert_eq!(line("pop").unwrap()[..3], ["pop", "pop", "1"]);
    let all = bench.json("all.json");
    let runs = all["runs"].as_array().unwrap();
    let names: Vec<_> = runs.iter().map(|run| (&run["run"], &run["model"], &run["loss"], &run["seed"])).collect();
    let pomrec = |name: &str, seed: u64| (name.into(), "pomrec".into(), "bpr".into(), serde_json::Value::from(seed));
    let expected = [pomrec("a", 7), pomrec("b", 8), ("pop".into(), "pop".into(), "".into(), 1.into())];
    assert_eq!(names, expected.iter().map(|(a, b, c, d)| (a, b, c, d)).collect::<Vec<_>>());
    for (run, name) in runs.iter().zip(["a", "b", "pop"]) {
        for metric in ["recall@10", "ndcg@20", "mrr"] {
            assert_eq!(run["test"][metric], bench.json(&format!("{name}/metrics.json"))["test"][metric]);
        }
    }
    let differences = all["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 2);
    for (difference, other) in differences.iter().zip(&runs[1..]) {
        for (metric, c) in difference["metrics"].as_object().unwrap() {
            let number = |value: &serde_json::Value| value.as_f64().unwrap();
            let apart = number(&runs[0]["test"][metric]) - number(&other["test"][metric]);
            assert!((number(&c["mean"]) - apart).abs() < 1e-12, "{metric}: {c}");
            assert!(number(&c["low"]) <= apart && apart <= number(&c["high"]), "{metric}: {c}");
            assert_eq!(c["pairs"], 60);
        }
    }
    // Two seeds count as one.
    let printed = bench.ok(&["compare", "a,b", "pop", "--json", "seeds.json"]);
    assert!(printed.contains("\na,b - pop\n") && printed.contains(" mean "), "{printed}");
    let seeds = bench.json("seeds.json");
    let [a, b, pop] = [0, 1, 2].map(|i| seeds["runs"][i]["test"]["ndcg@10"].as_f64().unwrap());
    let mean = seeds["differences"][0]["metrics"]["ndcg@10"]["mean"].as_f64().unwrap();
    assert!((mean - ((a + b) / 2.0 - pop)).abs() < 1e-12 && a != b, "{mean}: {a}, {b}, {pop}");
    assert!(bench.refuses(&["compare", "a,nowhere", "pop"]).contains("no run is here"));
    assert_eq!(seeds["sides"][0]["test"]["ndcg@10"].as_f64().unwrap(), (a + b) / 2.0);
    for (side, expected) in [
        ("a,pop", "do not count as seeds of one model"),
        ("a,a", "the same run twice"),
        ("a,", "an empty name next to a comma"),
    ] {
        assert!(bench.refuses(&["compare", side, "pop"]).contains(expected));
    }
    // What a run keeps is not written over.
    assert!(bench.refuses(&["compare", "a", "pop", "--json", "a/metrics.json"]).contains("the run keeps it"));
    assert!(bench.refuses(&["eval", "--run=a", "--per-user=a/model.safetensors"]).contains("the run keeps it"));
    let list = "user,item\nu1,i1\n";
    fs::write(bench.path("list.csv"), list).unwrap();
    assert!(bench.refuses(&["eval", "--run=a", "--items=list.csv", "--per-user=list.csv"]).contains("it is read"));
    assert_eq!(fs::read_to_string(bench.path("list.csv")).unwrap(), list);
    // Nor is what is read.
    let (data, config) = (fs::read(bench.path("data.csv")).unwrap(), "[data]\npath = \"data.csv\"\n");
    fs::write(bench.path("small.toml"), config).unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    fs::write(bench.path("folder/data.csv"), &data).unwrap();
    for (args, expected) in [
        (["plan", "sasrec", "--data=data.csv", "--dot=data.csv"], "it is read"),
        (["plan", "sasrec", "--config=small.toml", "--dot=small.toml"], "it is read"),
        (["bench", "data", "--data=data.csv", "--json=./data.csv"], "it is read"),
        (["bench", "data", "--data=folder", "--json=folder/data.csv"], "among the files of the data"),
        (["plan", "sasrec", "--config=small.toml", "--dot=data.csv"], "it is read"),
        (["plan", "sasrec", "--set=data.path=folder", "--dot=folder/data.csv"], "among the files of the data"),
        (["eval", "--run=a", "--metrics=mrr", "--per-user=data.csv"], "it is read"),
        (["recommend", "--run=a", "-k=1", "--output=data.csv"], "it is read"),
        (["bench", "kernels", "--device=cpu", "--json=a/metrics.json"], "the run keeps it"),
    ] {
        assert!(bench.refuses(&args).contains(expected), "{args:?}");
    }
    assert!(
        fs::read(bench.path("data.csv")).unwrap() == data && fs::read(bench.path("folder/data.csv")).unwrap() == data
    );
    assert_eq!(fs::read_to_string(bench.path("small.toml")).unwrap(), config);
    // A run has nothing on itself.
    bench.ok(&["compare", "a", "a", "--metrics", "map@5", "--split", "valid", "--json", "same.json"]);
    let same = bench.json("same.json");
    let c = &same["differences"][0]["metrics"]["map@5"];
    assert_eq!((&c["mean"], &c["p_t"], &c["p_wilcoxon"]), (&0.0.into(), &1.0.into(), &1.0.into()));
    assert_eq!(same["runs"][0]["valid"]["map@5"], same["runs"][1]["valid"]["map@5"]);
}

#[test]
fn runs_that_cannot_be_compared_are_refused() {
    let bench = Bench::new();
    fs::write(bench.path("other.csv"), interactions(61, 2)).unwrap();
    bench.train("pop", "run", &[]);
    for (setting, expected) in [
        ("--set=eval.protocol=sampled:5", "protocol: \"full\" and \"sampled:5\""),
        ("--set=data.split=ratio:80,10,10", "split: "),
        ("--set=eval.mask_history=false", "history_masked: true and false"),
        ("--set=eval.ties=optimistic", "ties: \"average\" and \"optimistic\""),
        ("--data=other.csv", "data: \"data.csv\" (60 users, 40 items, 600 events) and \"other.csv\" (61 users"),
    ] {
        let out = setting.replace(['=', ':', '.', ',', '-'], "");
        bench.train("pop", &out, &[setting]);
        let error = bench.refuses(&["compare", "run", &out, "--json", "all.json"]);
        assert!(error.contains(&format!("run and {out} cannot be compared: {expected}")), "{error}");
    }
    assert!(!bench.path("all.json").exists());
    bench.train("pop", "one", &["--set=eval.protocol=sampled:5"]);
    bench.train("pop", "two", &["--set=eval.protocol=sampled:5", "--set=eval.seed=2"]);
    assert!(bench.refuses(&["compare", "one", "two"]).contains("candidates_seed: 1 and 2"));
    assert!(bench.refuses(&["compare", "run"]).contains("2 values required"));
    assert!(bench.refuses(&["compare", "run", "nowhere"]).contains("no run is here"));
    assert!(bench.refuses(&["compare", "run", "run", "--metrics", "auc"]).contains("expected recall@K"));
}

#[test]
fn a_run_without_data_is_of_the_embedded_world() {
    let bench = Bench::new();
    let printed = bench.ok(&["train", "pop", "--device", "cpu"]);
    assert!(printed.contains("embedded world, seed 1: 2,000 users, 1,000 items"), "{printed}");
    assert!(printed.contains("runs/pop-1"), "{printed}");
    assert!(bench.ok(&["train", "pop", "--device", "cpu"]).contains("runs/pop-2"));
}

#[test]
fn equal_seeds_give_equal_bits() {
    let bench = Bench::new();
    bench.train("pomrec", "a", &["--seed=7"]);
    bench.train("pomrec", "b", &["--seed=7", "--set=train.threads=0", "--no-reuse", "--check-finite"]);
    bench.train("pomrec", "c", &["--seed=8"]);
    assert!(bench.model("a") == bench.model("b"));
    assert!(bench.model("a") != bench.model("c"));
    assert_eq!(bench.lines("a"), bench.lines("b"));
}

/// Kills a training again and again at whatever step it is at, and compares its end with that of one that was not killed.
fn killed_and_resumed(device: &str) {
    let bench = Bench::new();
    let settings = [device, "--set=train.epochs=6", "--set=train.checkpoint_seconds=0"];
    let start = Instant::now();
    bench.train("pomrec", "whole", &settings);
    let alone = start.elapsed();

    let resumed = [&settings[..], &["--resume"]].concat();
    let args = small("pomrec", "killed", &resumed);
    let mut kills = 0;
    loop {
        let mut child = bench.command(&args).stdout(Stdio::null()).spawn().unwrap();
        // At other points each time, and later with each: the start takes a while.
        std::thread::sleep(alone.mul_f64(0.3 + 0.13 * (kills * 5 % 4) as f64 + 0.03 * kills as f64));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(kills < 100, "no progress");
    }
    assert!(kills > 0, "it was never killed");
    assert!(bench.model("whole") == bench.model("killed"), "after {kills} kills");
    let left =
        fs::read_dir(bench.path("killed")).unwrap().chain(fs::read_dir(bench.path("killed/checkpoint")).unwrap());
    let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with('.') || name.ends_with(".tmp")).count(), 0, "left over by kills");
    assert_eq!(bench.lines("whole"), bench.lines("killed"));
    let [whole, killed] = ["whole/metrics.json", "killed/metrics.json"].map(|file| bench.json(file));
    assert_eq!(whole["test"], killed["test"]);
    assert_eq!(whole["steps"], killed["steps"]);
}

#[test]
fn killed_at_any_step_and_resumed_to_the_same_bits_on_the_cpu() {
    killed_and_resumed("--device=cpu");
}

#[test]
fn killed_at_any_step_and_resumed_to_the_same_bits_on_a_gpu() {
    killed_and_resumed("--device=gpu");
}

#[test]
fn a_run_that_is_done_can_be_made_longer() {
    let bench = Bench::new();
    bench.train("pomrec", "whole", &["--set=train.epochs=4"]);
    bench.train("pomrec", "later", &["--set=train.epochs=2"]);
    bench.train("pomrec", "later", &["--set=train.epochs=4", "--resume"]);
    assert!(bench.model("whole") == bench.model("later"));
    assert_eq!(bench.lines("whole"), bench.lines("later"));
}

#[test]
fn a_run_that_ended_within_an_epoch_is_gone_on_with() {
    let bench = Bench::new();
    bench.train("pomrec", "whole", &[]);
    bench.train("pomrec", "later", &["--set=train.max_steps=3"]);
    assert_eq!(bench.lines("later").len(), 1);
    // Nothing more to do, nothing lost.
    bench.train("pomrec", "later", &["--set=train.max_steps=3", "--resume"]);
    assert_eq!(bench.lines("later").len(), 1);
    bench.train("pomrec", "later", &["--set=train.max_steps=1000", "--resume"]);
    let [whole, later] = ["whole", "later"].map(|run| bench.lines(run));
    assert_eq!(later.len(), 3);
    for (a, b) in whole.iter().zip(&later) {
        assert_eq!((&a["epoch"], &a["step"], &a["valid"]), (&b["epoch"], &b["step"], &b["valid"]));
    }
}

/// An epoch that was evaluated because it was the last one does not move the others.
#[test]
fn evaluations_stay_at_their_epochs() {
    let bench = Bench::new();
    let at = |run: &str| -> Vec<u64> {
        let lines = bench.lines(run);
        lines.iter().filter(|line| !line["valid"].is_null()).map(|line| line["epoch"].as_u64().unwrap()).collect()
    };
    bench.train("pomrec", "whole", &["--set=eval.every=2", "--set=train.epochs=6"]);
    assert_eq!(at("whole"), [2, 4, 6]);
    for (first, evaluated) in [("--set=train.epochs=4", vec![2, 4, 6]), ("--set=train.epochs=3", vec![2, 3, 4, 6])] {
        let run = first.replace(['-', '=', '.'], "");
        bench.train("pomrec", &run, &["--set=eval.every=2", first]);
        bench.train("pomrec", &run, &["--set=train.epochs=6", "--resume", "--set=eval.every=2"]);
        assert_eq!(at(&run), evaluated);
        let same = |line: &serde_json::Value| line["epoch"] != 3 && line["best"] == false;
        let [a, b] = ["whole", &run].map(|run| bench.lines(run).into_iter().filter(same).collect::<Vec<_>>());
        assert_eq!(a, b);
    }
    assert!(bench.model("whole") == bench.model("settrainepochs4"));
}

#[test]
fn a_start_that_fails_does_not_block_the_next() {
    let bench = Bench::new();
    let output = bench.run(&small("pomrec", "run", &["--set=train.lr=1e30"]));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("the loss is"), "{error}");
    bench.train("pomrec", "run", &[]);
    assert_eq!(bench.lines("run").len(), 3);
}

#[test]
fn one_process_trains_in_a_folder() {
    let bench = Bench::new();
    let long = ["--set=train.epochs=100000", "--set=train.patience=0"];
    let mut child = bench.command(&small("pomrec", "run", &long)).stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !bench.path("run/checkpoint/last.safetensors").exists() {
        assert!(begun.elapsed().as_secs() < 60, "it does not begin");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let resume = [&long[..], &["--resume"]].concat();
    let error = bench.refuses(&small("pomrec", "run", &resume));
    assert!(error.contains("run: another process is training in this folder"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    bench.train("pomrec", "run", &["--resume", "--set=train.epochs=1", "--set=train.patience=0"]);
}

#[test]
fn patience_ends_a_training() {
    let bench = Bench::new();
    bench.train("pomrec", "run", &["--set=train.lr=1e-30", "--set=train.epochs=50", "--set=train.patience=2"]);
    let metrics = bench.json("run/metrics.json");
    assert_eq!((&metrics["best_epoch"], &metrics["epochs"]), (&1.into(), &3.into()));
    bench.train("pomrec", "short", &["--set=train.max_steps=7"]);
    assert_eq!(bench.json("short/metrics.json")["steps"], 7);
}

#[test]
fn wrong_settings_are_refused_and_leave_nothing() {
    let bench = Bench::new();
    for (args, expected) in [
        (vec!["--set=train.learning_rat=1"], "there is no setting \"train.learning_rat\""),
        (vec!["--set=train.bach=1"], "did you mean train.batch?"),
        (vec!["--set=train.lr=fast"], "train.lr: found \"fast\"; expected a number above 0"),
        (vec!["--set=train.batch=2.5"], "expected a whole number"),
        (vec!["--set=model.interests=0"], "model.interests: found 0; expected a whole number of at least 1"),
        (vec!["--set=data.max_len=0"], "data.max_len: found 0; expected a whole number of at least 1"),
        (vec!["--set=train.batch=0"], "train.batch: found 0"),
        (vec!["--set=train.lr=nan"], "expected a finite number"),
        (vec!["--set=train.lr=-1"], "expected a number above 0"),
        (vec!["--set=train.lr"], "expected key=value"),
        (
            vec!["--seed=9223372036854775808"],
            "found 9223372036854775808; expected a whole number from 0 to 92233720368547758",
        ),
        (
            vec!["--set=seed=99999999999999999999"],
            "seed: found 99999999999999999999; expected a whole number of at least 0 and at most 9223372036854775807",
        ),
        (vec!["--set=eval.protocol=sampled:100000"], ""),
        (vec!["--config=none.toml"], "none.toml: cannot read"),
        (vec!["--device=tpu"], "no device is called \"tpu\""),
        (vec!["--device=gpu:99"], ""),
        (vec!["--set=precision=f8"], "precision: found \"f8\"; expected f32 or f16"),
        (vec!["--device=cpu", "--set=precision=f16"], "precision: found \"f16\", but cpu"),
        (vec!["--check-finite", "--set=precision=f16"], "--check-finite: an overflow is no fault in f16"),
        (vec!["--data=none.csv"], "none.csv"),
        (vec!["--out=data.csv"], "data.csv: cannot"),
        (vec!["--out=data.csv/below"], "data.csv/below: cannot create"),
    ] {
        let all = small("pomrec", "runs/new", &args);
        let error = bench.refuses(&all);
        assert!(error.contains(expected), "{args:?}: {error}");
        assert!(!bench.path("runs").exists(), "{args:?} left a folder");
    }
    // Before any data is read.
    let error = bench.refuses(&small("pomerc", "runs/new", &["--data=none.csv"]));
    assert!(error.contains("no model is called \"pomerc\"; expected one of pomrec, comirec, mind"), "{error}");
    assert!(error.contains("did you mean pomrec?"), "{error}");
    assert!(!bench.path("runs").exists());
}

#[test]
fn bad_data_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let good = interactions(60, 1);
    let with = |line: &[u8]| [good.as_bytes(), line].concat();
    let long = [&b"u1,"[..], &[b'i'; 10_000], b",3,1000000000\n"].concat();
    for (contents, place) in [
        (vec![], "bad.csv: found"),
        (vec![0, 159, 146, 150, 0, 1, 2, 255], "bad.csv"),
        (with(b"u1,i1"), "bad.csv:602"),
        (with(b"u1,i1,good,1000000000\n"), "bad.csv:602:3: found"),
        (with(b"u1,i1,NaN,1000000000\n"), "bad.csv:602:3: found"),
        (with(b"u1,i1,3,then\n"), "bad.csv:602:4: found"),
        (with(b"u1,i1,3,99999999999999999\n"), "bad.csv:602:4: found"),
        (with(b"u1,\xff\xfe,3,1000000000\n"), "bad.csv:602"),
        (with(&long), "bad.csv:602:2: found"),
        (good.replace("item,rating", "item,item").into_bytes(), "a second time"),
    ] {
        fs::write(bench.path("bad.csv"), &contents).unwrap();
        let error = bench.refuses(&small("pomrec", "runs/new", &["--data=bad.csv"]));
        assert!(error.contains(place) && error.contains("expected"), "{place}: {error}");
        assert!(!bench.path("runs").exists(), "{place} left a folder");
    }
    fs::write(bench.path("bad.csv"), with(b"loner,i1,3,1000000000\n")).unwrap();
    let printed = bench.train("pop", "run", &["--data=bad.csv"]);
    assert!(printed.contains("61 users") && printed.contains("60 users evaluated, 1 left out"), "{printed}");
}

/// Settings are text: what text cannot hold is refused before anything is done.
#[cfg(target_os = "linux")]
#[test]
fn paths_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let folder = bench.folder.path().join(std::ffi::OsStr::from_bytes(b"d\xff"));
    fs::create_dir(&folder).unwrap();
    let data = folder.join("data.csv");
    fs::copy(bench.path("data.csv"), &data).unwrap();
    let output = bench.command(&["train", "sasrec", "--out=run", "--data"]).arg(&data).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("UTF-8"), "{error}");
    let output = bench.run(&["train", "sasrec", "--out=run", "--data", ""]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("--data"), "{error}");
    assert!(!bench.path("run").exists());
    // A folder that is not named does no harm.
    let output = bench.command(&small("pop", "run", &[])).current_dir(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn other_runs_are_left_alone() {
    let bench = Bench::new();
    bench.train("pomrec", "run", &["--set=train.epochs=1"]);
    let before = bench.model("run");
    let error = bench.refuses(&small("pomrec", "run", &[]));
    assert!(error.contains("run is not empty"), "{error}");

    let error = bench.refuses(&small("pop", "run", &["--resume", "--set=train.epochs=1"]));
    assert!(error.contains("run: this is a run of pomrec; expected one of pop, or `wgrec train pomrec`"), "{error}");
    let error = bench.refuses(&small("pomrec", "run", &["--resume", "--set=model.dim=16"]));
    assert!(error.contains("model.dim is 32 in the run in run, not 16"), "{error}");
    fs::write(bench.path("other.csv"), interactions(61, 2)).unwrap();
    let error = bench.refuses(&small("pomrec", "run", &["--resume", "--data=other.csv"]));
    assert!(error.contains("another data set"), "{error}");
    let error = bench.refuses(&["eval", "--run", "run", "--data", "other.csv"]);
    assert!(error.contains("another data set"), "{error}");
    let error = bench.refuses(&["eval", "--run", "nowhere"]);
    assert!(error.contains("no run is here"), "{error}");

    let checkpoint = bench.path("run/checkpoint/last.safetensors");
    let whole = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &whole[..whole.len() / 2]).unwrap();
    let error = bench.refuses(&small("pomrec", "run", &["--resume"]));
    assert!(
        error.contains("last.safetensors: found") && error.contains("expected a whole checkpoint of wgrec"),
        "{error}"
    );
    assert!(bench.model("run") == before);
}

/// A limit on the size of files stands in for a disk that is full: a write fails in the middle.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_checkpoint() {
    let bench = Bench::new();
    bench.train("pomrec", "whole", &[]);
    bench.train("pomrec", "run", &["--set=train.epochs=1"]);
    let before = fs::read(bench.path("run/checkpoint/last.safetensors")).unwrap();
    let args = small("pomrec", "run", &["--resume"]).join(" ");
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {} {args}", env!("CARGO_BIN_EXE_wgrec"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(bench.folder.path()).env("WGREC_CACHE", bench.path("cache"));
    let output = shell.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("safetensors: cannot write: "), "{error}");
    assert!(fs::read(bench.path("run/checkpoint/last.safetensors")).unwrap() == before);
    let left = fs::read_dir(bench.path("run")).unwrap().chain(fs::read_dir(bench.path("run/checkpoint")).unwrap());
    assert!(left.map(|entry| entry.unwrap().path()).all(|path| path.extension() != Some("tmp".as_ref())));

    bench.train("pomrec", "run", &["--resume"]);
    assert!(bench.model("whole") == bench.model("run"));
}

#[test]
fn plans_without_running() {
    let bench = Bench::new();
    let args = [&["plan", "pomrec", "--dot", "plan.dot"], SMALL].concat();
    let printed = bench.ok(&args);
    for part in ["nodes", "buffers", "without reuse", "a step"] {
        assert!(printed.contains(part), "no {part:?} in\n{printed}");
    }
    assert!(fs::read_to_string(bench.path("plan.dot")).unwrap().starts_with("digraph plan {"));
    let error = bench.refuses(&[&["plan", "pop"][..], &fitting("pop", SMALL)].concat());
    assert!(error.contains("pop is not trained: it has no training step"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let bench = Bench::new();
    let script = format!("{} data list | head -c 1; {} --help | head -c 1", program(), program());
    let output = Command::new("sh").args(["-c", &script]).current_dir(bench.folder.path()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[cfg(unix)]
fn program() -> std::path::Display<'static> {
    Path::new(env!("CARGO_BIN_EXE_wgrec")).display()
}

#[test]
fn the_profile_is_a_table() {
    let bench = Bench::new();
    let printed = bench.train("pomrec", "run", &["--profile", "--set=train.epochs=1"]);
    assert!(printed.contains("GFLOP/s") && printed.contains("matmul"), "{printed}");
}

#[test]
fn every_model_trains_as_published_and_with_every_loss() {
    let bench = Bench::new();
    // Over the 64 items up to which a table needs no segments.
    let line = |n: u32| format!("u{},i{},{}\n", n / 10, (n / 10 * 7 + n % 10 * 3) % 100, n % 10);
    fs::write(bench.path("data.csv"), "user,item,time\n".to_string() + &(0..900).map(line).collect::<String>())
        .unwrap();
    let few = ["--set=train.max_steps=2", "--set=train.negatives=3"];
    for spec in wgrec::models::MODELS {
        let model = spec.name;
        // It ranks by texts, and there are none.
        if model == "nearest" {
            continue;
        }
        bench.train(model, model, &few);
        if spec.loss.is_none() {
            continue;
        }
        for loss in ["bpr", "bce", "gbce", "softmax", "sampled-softmax", "in-batch", "top1-max"] {
            for shared in ["false", "true"] {
                let [loss_kind, loss_shared] =
                    [format!("--set=loss.kind={loss}"), format!("--set=loss.shared={shared}")];
                let more = [&few[..], &[&loss_kind, &loss_shared, "--set=loss.temperature=0.5"]].concat();
                // Whose scores are no dot products.
                if ["mcprn", "rdrsr"].contains(&model) && loss == "softmax" {
                    let error = bench.refuses(&small(model, "none", &more));
                    assert!(error.contains("loss.kind") && error.contains("no dot products"), "{error}");
                    continue;
                }
                bench.train(model, &format!("{model}-{loss}-{shared}"), &more);
            }
        }
    }
    let released = ["--set=model.variant=released", "--set=data.max_len=80", "--set=train.max_steps=2"];
    bench.train("pomrec", "released", &released);
}

#[test]
fn kernels_are_checked_timed_and_compared() {
    let bench = Bench::new();
    let kernels = ["bench", "kernels", "--quick", "--device=cpu"];
    let printed = bench.ok(&[&kernels[..], &["--json=all.json"]].concat());
    let all = bench.json("all.json");
    let rows = all["rows"].as_array().unwrap();
    for example in wgrec::bench::kernels::cases(None, wgrec::bench::Scale::Quick).unwrap() {
        // A CPU has no halves.
        assert!(
            example.half || rows.iter().any(|row| row["name"] == *example.name),
            "no {} in {printed}",
            example.name
        );
    }
    for row in rows {
        let [low, median, high] = ["low", "median", "high"].map(|key| row["seconds"][key].as_f64().unwrap());
        assert!(0.0 < low && low <= median && median <= high, "{row}");
        assert!(row["worst"].as_f64().unwrap() < 1e-4 && row["bytes"].as_u64().unwrap() > 0, "{row}");
        let line = printed.lines().filter(|line| line.starts_with(row["name"].as_str().unwrap()));
        assert!(line.clone().any(|line| line.contains(row["sizes"].as_str().unwrap())), "no {row} in\n{printed}");
    }
    assert_eq!(all["format"], 1);
    assert_eq!(all["device"], "cpu");
    assert_eq!(all["wgrec"], env!("CARGO_PKG_VERSION"));

    let printed = bench.ok(&["bench", "kernels", "softmax", "--quick", "--device=cpu", "--against=all.json"]);
    let changed: Vec<&str> = printed.lines().skip_while(|line| !line.starts_with("against")).skip(1).collect();
    assert!(changed.len() == 6 && changed.iter().all(|line| line.starts_with("softmax")), "{printed}");
}

#[test]
fn a_kernel_is_timed_on_a_gpu() {
    let bench = Bench::new();
    let kernel = ["bench", "kernels", "softmax", "--quick", "--device=gpu"];
    bench.ok(&[&kernel[..], &["--json=gpu.json"]].concat());
    let all = bench.json("gpu.json");
    assert_eq!(all["device"], "gpu");
    assert!(!all["driver"].as_str().unwrap().is_empty() && all["rows"].as_array().unwrap().len() == 6, "{all}");
    // Of another device: nothing is timed.
    let error = bench.refuses(&["bench", "kernels", "softmax", "--quick", "--device=cpu", "--against=gpu.json"]);
    assert!(error.contains("gpu.json: ") && error.contains("device \"gpu\", not \"cpu\""), "{error}");
}

#[test]
fn what_cannot_be_measured_or_compared_is_refused() {
    let bench = Bench::new();
    let kernels = ["bench", "kernels", "conv", "--quick", "--device=cpu"];
    bench.ok(&[&kernels[..], &["--json=conv.json"]].concat());
    let whole = bench.json("conv.json");
    let changed = |key: &str, value: serde_json::Value| {
        let mut other = whole.clone();
        other[key] = value;
        fs::write(bench.path("other.json"), other.to_string()).unwrap();
        bench.refuses(&[&kernels[..], &["--against=other.json", "--json=new.json"]].concat())
    };
    for (key, value, named) in [
        ("format", 2.into(), "format 2"),
        ("threads", 77.into(), "77 threads"),
        ("adapter", "another".into(), "adapter \"another\""),
        ("rows", serde_json::json!([]), "share no case"),
        ("rows", "none".into(), "other.json: found"),
    ] {
        let error = changed(key, value);
        assert!(error.contains(named), "{error}");
    }
    fs::write(bench.path("other.json"), "{\"format\": 1, ").unwrap();
    let error = bench.refuses(&[&kernels[..], &["--against=other.json"]].concat());
    assert!(error.contains("other.json:1: found no JSON"), "{error}");
    assert!(bench.refuses(&[&kernels[..], &["--against=nowhere.json"]].concat()).contains("nowhere.json"));
    assert!(!bench.path("new.json").exists());

    let error = bench.refuses(&["bench", "kernels", "atention", "--quick", "--device=cpu"]);
    assert!(error.contains("did you mean attention?"), "{error}");
    let error = bench.refuses(&["bench", "step", "pop", "--data=data.csv", "--device=cpu"]);
    assert!(error.contains("pop is not trained"), "{error}");
    assert!(bench.refuses(&["bench", "data"]).contains("pass --data"));
}

#[test]
fn steps_evaluations_and_data_are_timed() {
    let bench = Bench::new();
    let settings = |model: &str| fitting(model, SMALL).into_iter().filter(|arg| !arg.contains("epochs"));
    let measured = |what: &[&str], rows: &[&str], facts: &[&str]| {
        let settings: Vec<&str> = settings(what.get(2).unwrap_or(&"pop")).collect();
        let args = [what, &settings, &["--quick", "--json=out.json"]].concat();
        let printed = bench.ok(&args);
        let out = bench.json("out.json");
        let names: Vec<&str> = out["rows"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(names, rows, "{printed}");
        for fact in facts {
            assert!(out["facts"][fact].as_f64().unwrap() > 0.0, "no {fact} in {out}");
            assert!(printed.contains(&fact.replace('_', " ")), "no {fact} in\n{printed}");
        }
        let printed = bench.ok(&[&args[..], &["--against=out.json"]].concat());
        assert!(printed.contains("was, ms"), "{printed}");
    };
    let step = ["samples_per_second", "batch_maker_share", "peak_bytes"];
    measured(&["bench", "step", "pomrec"], &["step", "batch"], &step);
    measured(&["bench", "step", "sasrec", "--set=train.accumulate=2"], &["step", "batch"], &step);
    // Times of other settings say nothing about these.
    let other: Vec<&str> =
        ["bench", "step", "sasrec", "--quick", "--against=out.json"].into_iter().chain(settings("sasrec")).collect();
    let error = bench.refuses(&other);
    assert!(error.contains("train.accumulate 2, not the default"), "{error}");
    measured(&["bench", "eval", "sasrec"], &["ranking", "forward", "product"], &["users_per_second", "forward_share"]);
    let facts = ["interactions_per_second", "file_bytes", "csr_bytes"];
    measured(&["bench", "data"], &["from file", "from cache"], &facts);
}

#[test]
fn completions_and_man_pages_name_every_command_and_flag() {
    let bench = Bench::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = bench.ok(&["completions", shell]);
        for word in ["recommend", "user-column", "check-finite"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert!(bench.refuses(&["completions", "tcsh"]).contains("bash"));

    bench.ok(&["man", "man/man1"]);
    for (page, text) in [("wgrec", "wgrec\\-recommend"), ("wgrec-train", "user\\-column"), ("wgrec-data-get", "mirror")]
    {
        let roff = fs::read_to_string(bench.path(&format!("man/man1/{page}.1"))).unwrap();
        assert!(roff.contains(".TH") && roff.contains(text), "{page}: {roff}");
    }
    bench.refuses(&["man", "data.csv"]);
}
