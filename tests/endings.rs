//! How trainings end that do not come to their end: they diverge, or are stopped. What was saved before stays, what is said is
//! true, and no number that is not finite passes for a result.

mod program;

use program::fitting;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use wgrec::config::Config;
use wgrec::train::{FitOptions, Report, RunFolder, Session, Stop};
use wgrec::{Error, Result};

/// A folder where the program runs.
struct Bench {
    folder: tempfile::TempDir,
}

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/small/rep.csv");

/// A small training on it; an epoch has two or three steps.
const SMALL: [&str; 8] = [
    "--device=cpu",
    "--set=data.max_len=8",
    "--set=model.dim=16",
    "--set=model.layers=1",
    "--set=train.batch=32",
    "--set=train.epochs=3",
    "--set=eval.batch=32",
    "--set=train.lr=0.01",
];

impl Bench {
    fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgrec"));
        command.args(args).current_dir(self.folder.path()).env("WGREC_CACHE", self.path("cache"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What the program prints, and its errors; it must end with exit code `code`.
    fn ends(&self, code: i32, args: &[&str]) -> (String, String) {
        let output = self.run(args);
        let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{error}");
        assert!(!error.contains("panicked"), "{args:?}: {error}");
        (out, error)
    }

    fn train(&self, code: i32, model: &str, out: &str, more: &[&str]) -> (String, String) {
        let args = [&["train", model, "--data", DATA, "--out", out][..], &fitting(model, &SMALL), more].concat();
        self.ends(code, &args)
    }

    /// The contents of the files of a run, except its lock.
    fn files(&self, run: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).map(|entries| entries.map(|e| e.unwrap().path()).collect());
            entries.unwrap_or_default()
        };
        let all = files(&self.path(run)).into_iter().chain(files(&self.path(run).join("checkpoint")));
        all.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// The lines of metrics.jsonl, without times.
    fn lines(&self, run: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(run).join("metrics.jsonl")).unwrap();
        let parse = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().retain(|name, _| !name.contains("second"));
            line
        };
        text.lines().map(parse).collect()
    }

    /// Makes element `at` of a tensor in a run's file something else.
    fn poke(&self, file: &str, tensor: &str, at: usize, value: f32) {
        let mut bytes = fs::read(self.path(file)).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let json: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
        let start = json[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
        bytes[header + start + 4 * at..][..4].copy_from_slice(&value.to_le_bytes());
        fs::write(self.path(file), bytes).unwrap();
    }
}

/// The step that an error about a loss names.
fn step(error: &str) -> u64 {
    let rest = error.split_once("step ").unwrap_or_else(|| panic!("{error}")).1;
    rest.split(':').next().unwrap().parse().unwrap_or_else(|_| panic!("{error}"))
}

/// As it was reported: exit 0, a table, and NaN in every tensor.
#[test]
fn a_loss_that_hides_what_is_not_finite_is_found() {
    let bench = Bench::new();
    for kind in ["sampled-softmax", "in-batch"] {
        let kind = format!("--set=loss.kind={kind}");
        let set =
            "--set=train.lr=1e4 --set=data.max_len=8 --set=model.dim=16 --set=train.max_steps=60 --set=train.batch=32";
        let args = ["train", "sasrec", "--data", DATA, "--device=cpu", "--out=run", &kind];
        let (out, error) = bench.ends(1, &[&args[..], &set.split(' ').collect::<Vec<_>>()].concat());
        assert!(error.starts_with("error: step ") && error.contains("not finite"), "{error}");
        assert!(error.contains("train.lr") && error.contains("--check-finite"), "{error}");
        assert!(!out.contains("test ") && !bench.path("run/metrics.json").exists(), "{out}");
        fs::remove_dir_all(bench.path("run")).unwrap();
    }
}

/// Trains the small training with more settings.
fn fit(model: &str, folder: &Path, settings: &[&str], options: FitOptions, report: &mut Report) -> Result<()> {
    let small = fitting(model, &SMALL).into_iter().map(|set| set.strip_prefix("--set=").unwrap_or("device=cpu"));
    let path = format!("data.path={DATA}");
    let all = small.chain([&*path]).chain(settings.iter().copied());
    let config = all.fold(Config::of(model).unwrap(), |config, setting| config.with_setting(setting).unwrap());
    let folder = if options.resume { RunFolder::go_on(folder)? } else { RunFolder::new(folder)? };
    Session::open(config)?.fit(&folder, options, report).map(drop)
}

fn quiet() -> Report {
    Report::to(std::io::sink())
}

/// The device keeps the step: the loss is read once at the end of the epoch, or every step, and the same one is named. An
/// update takes one batch or three.
#[test]
fn every_loss_on_every_device_names_the_first_step_that_is_not_finite() {
    let bench = Bench::new();
    let kinds = ["bpr", "bce", "gbce", "softmax", "sampled-softmax", "in-batch", "top1-max"];
    for (device, model) in [("cpu", "sasrec"), ("gpu", "stamp")] {
        for (i, kind) in kinds.iter().enumerate() {
            // Some steps an epoch, and no validation before the loss is read.
            let fixed = ["train.lr=1e30", "train.batch=4", "eval.every=100"].map(String::from);
            let sets = [&[format!("device={device}"), format!("loss.kind={kind}")][..], &fixed].concat();
            let accumulate = if i % 2 == 0 { "train.accumulate=1" } else { "train.accumulate=3" };
            let steps = ["log.every=1", "log.every=50"].map(|every| {
                let sets: Vec<&str> = sets.iter().map(String::as_str).chain([every, accumulate]).collect();
                let run = bench.path("run");
                let error = fit(model, &run, &sets, FitOptions::default(), &mut quiet()).expect_err(kind);
                assert!(matches!(error, Error::NotFinite(_)), "{device}, {kind}: {error}");
                let error = error.to_string();
                assert!(error.contains("the loss is not finite"), "{device}, {kind}: {error}");
                assert!(!run.join("model.safetensors").exists() && !run.join("checkpoint/last.safetensors").exists());
                fs::remove_dir_all(run).unwrap();
                step(&error)
            });
            assert!(steps[0] == steps[1] && (2..=6).contains(&steps[0]), "{device}, {kind}: {steps:?}");
        }
    }
}

/// Parameters grow by the learning rate each step until products overflow, some epochs on.
#[test]
fn a_training_that_diverges_late_keeps_its_last_good_checkpoint() {
    let bench = Bench::new();
    let diverging = ["--set=train.lr=3e4", "--set=train.epochs=400", "--set=train.patience=0"];
    let (_, error) = bench.train(1, "sasrec", "run", &diverging);
    assert!(error.contains("not finite") && error.contains("The checkpoint of step "), "{error}");
    let kept = bench.files("run");
    assert!(!bench.path("run/metrics.json").exists());
    let lines = bench.lines("run");
    assert!(lines.len() > 1 && lines.iter().all(|line| line["loss"].is_number()), "{error}");
    assert!(error.contains(&format!("The checkpoint of step {}", lines.last().unwrap()["step"])), "{error}");
    // What stands is what --resume says it is: it takes the same way to the same end, and changes nothing.
    let (_, again) = bench.train(1, "sasrec", "run", &[&diverging[..], &["--resume"]].concat());
    assert_eq!((step(&again), bench.files("run") == kept), (step(&error), true), "{again}");
    let args = ["train", "sasrec", "--resume", "--out=run", "--check-finite"];
    let (_, named) = bench.ends(1, &args);
    assert!(named.contains("its output is not finite: element"), "{named}");
    assert!(bench.files("run") == kept);
    bench.ends(0, &["eval", "--run=run", "--split=valid"]);
}

/// Loss, parameters and scores are finite, a moment is not.
#[test]
fn a_moment_that_overflows_leaves_the_files_as_they_were() {
    let bench = Bench::new();
    let world = "--device=cpu --set=world.users=300 --set=model.dim=16 --set=data.max_len=10 --set=train.batch=32 \
                 --set=loss.temperature=1e-4";
    let train = |code, model: &str, more: &str| {
        let args = ["train", model, "--out=run"].into_iter().chain(world.split_whitespace());
        bench.ends(code, &args.chain(more.split_whitespace()).collect::<Vec<_>>())
    };
    let (_, error) =
        train(1, "gru4rec", "--set=model.layers=2 --set=loss.kind=bpr --set=train.lr=1e10 --set=train.max_steps=2");
    assert!(error.contains("the optimiser's state") && error.contains("Nothing of it is saved"), "{error}");
    assert!(!bench.path("run/model.safetensors").exists());
    bench.ends(2, &["eval", "--run=run"]);
    fs::remove_dir_all(bench.path("run")).unwrap();

    let of = "--set=model.variant=paper --set=model.interests=3 --set=model.dispersion=3 --set=loss.kind=softmax --set=train.lr=1e8";
    train(0, "pomrec", &format!("{of} --set=train.max_steps=1"));
    let kept = |mut files: BTreeMap<PathBuf, Vec<u8>>| {
        files.remove(&bench.path("run/config.toml"));
        files
    };
    let before = kept(bench.files("run"));
    let (_, error) = train(1, "pomrec", &format!("{of} --set=train.max_steps=2 --resume"));
    assert!(error.contains("the optimiser's state") && error.contains("the best parameters, of epoch 1"), "{error}");
    assert!(kept(bench.files("run")) == before && before.contains_key(&bench.path("run/metrics.json")));
    bench.ends(0, &["eval", "--run=run"]);
}

/// As where a run is killed between the two files.
#[test]
fn best_parameters_past_the_checkpoint_are_written_anew() {
    let bench = Bench::new();
    bench.train(0, "sasrec", "run", &["--set=train.max_steps=1"]);
    let checkpoint = fs::read(bench.path("run/checkpoint/last.safetensors")).unwrap();
    let go_on = ["--resume", "--set=train.max_steps=9", "--set=train.epochs=9"];
    bench.train(0, "sasrec", "run", &go_on);
    let model = fs::read(bench.path("run/model.safetensors")).unwrap();
    fs::write(bench.path("run/checkpoint/last.safetensors"), checkpoint).unwrap();
    let (out, _) = bench.train(0, "sasrec", "run", &go_on);
    assert!(out.contains("run/model.safetensors is of step ") && out.contains("writes it anew"), "{out}");
    assert!(fs::read(bench.path("run/model.safetensors")).unwrap() == model);
}

#[test]
fn parameters_that_are_not_finite_are_refused_by_name() {
    let bench = Bench::new();
    bench.train(0, "sasrec", "run", &[]);
    bench.train(0, "sasrec", "other", &["--set=seed=2"]);
    bench.ends(0, &["recommend", "--run=run", "--output=recs.csv"]);
    let recs = fs::read(bench.path("recs.csv")).unwrap();
    bench.poke("run/model.safetensors", "item_embedding", 16 * 7 + 3, f32::NAN);
    bench.poke("run/checkpoint/last.safetensors", "item_embedding", 16 * 7 + 3, f32::INFINITY);
    let resume = ["train", "sasrec", "--resume", "--out=run", "--set=train.epochs=4"];
    for (args, value) in [
        (&["eval", "--run=run"][..], "NaN"),
        (&["recommend", "--run=run", "--output=recs.csv"], "NaN"),
        (&["compare", "other", "run"], "NaN"),
        (&resume, "inf"),
    ] {
        let (out, error) = bench.ends(2, args);
        assert!(error.contains("found item_embedding, where element [7, 3] of ["), "{args:?}: {error}");
        assert!(error.contains(&format!("] is {value}; expected finite numbers")), "{args:?}: {error}");
        assert!(!out.contains("ndcg"), "{out}");
    }
    assert!(fs::read(bench.path("recs.csv")).unwrap() == recs);
}

/// Finite parameters so large that scores are not.
#[test]
fn scores_that_are_not_finite_are_refused_with_user_and_item() {
    let bench = Bench::new();
    for (model, tensor) in [("sasrec", "item_embedding"), ("ease", "weights")] {
        for device in ["--device=cpu", "--device=gpu"] {
            let run = format!("{model}{device}");
            bench.train(0, model, &run, &fitting(model, &["--set=model.ridge=5"]));
            let recs = [&*format!("--run={run}"), "--output=recs.csv", device].map(String::from);
            let recommend: Vec<&str> = ["recommend"].into_iter().chain(recs.iter().map(String::as_str)).collect();
            bench.ends(0, &recommend);
            let before = fs::read(bench.path("recs.csv")).unwrap();
            let width = if model == "sasrec" { 16 } else { 31 };
            (width..5 * width).for_each(|at| bench.poke(&format!("{run}/model.safetensors"), tensor, at, 3e38));
            let run_flag = format!("--run={run}");
            for args in [
                &["eval", &*run_flag, device][..],
                &["eval", &*run_flag, device, "--protocol=sampled:20", "--split=valid"],
                &["compare", &*run, &*run, device],
                &recommend,
            ] {
                let (out, error) = bench.ends(1, args);
                assert!(error.starts_with("error: user \"u") && error.contains("the score of item \"i"), "{error}");
                assert!(error.contains("is not finite") && !out.contains("ndcg"), "{out}{error}");
            }
            assert!(fs::read(bench.path("recs.csv")).unwrap() == before);
        }
    }
}

/// Closed forms and counts have nothing that diverges but their own arithmetic.
#[test]
fn a_closed_form_that_overflows_is_refused() {
    let bench = Bench::new();
    for ridge in ["1e-300", "1e300", "5"] {
        let output =
            bench.run(&["train", "ease", "--data", DATA, "--out", ridge, "--set", &format!("model.ridge={ridge}")]);
        let error = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => assert!(bench.path(ridge).join("metrics.json").is_file()),
            Some(1) => {
                assert!(error.contains("model.ridge") && !bench.path(ridge).join("metrics.json").exists(), "{error}")
            }
            _ => panic!("{error}"),
        }
        assert!(output.status.success() || ridge == "1e-300", "{error}");
    }
}

/// Requests a stop when a line is reported that begins so.
struct StopsAt(&'static str, Stop);

impl std::io::Write for StopsAt {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        if text.starts_with(self.0.as_bytes()) {
            assert!(self.1.request(), "the training heeds it");
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The training is over by then.
#[test]
fn a_stop_while_the_test_part_is_ranked_says_that_the_training_is_saved() {
    let bench = Bench::new();
    let stop = Stop::default();
    let mut report = Report::to(StopsAt("epoch 3", stop.clone()));
    let run = bench.path("run");
    let error = fit("sasrec", &run, &[], FitOptions { stop, ..FitOptions::default() }, &mut report).unwrap_err();
    assert!(matches!(error, Error::Stopped(_)), "{error}");
    let told = format!("the training is done and saved: `wgrec eval --run {}` ranks it", run.display());
    assert!(error.to_string().contains(&told), "{error}");
    bench.ends(0, &["eval", "--run=run"]);
}

/// It waits for a pipe that nobody writes to.
#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_before_the_first_step_says_so() {
    let bench = Bench::new();
    assert!(Command::new("mkfifo").arg(bench.path("pipe")).status().unwrap().success());
    let args = ["train", "sasrec", "--data=pipe", "--device=cpu"];
    let child = bench.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let listens = || {
        let mut tasks = fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten();
        tasks
            .any(|task| fs::read_to_string(task.unwrap().path().join("comm")).is_ok_and(|name| name.trim() == "ctrl-c"))
    };
    let start = Instant::now();
    while !listens() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, "-INT");
    assert_eq!(ended(child), "stopped; go on by: wgrec train sasrec --data=pipe --device=cpu\n");
}

/// By a library user's own flag: after a step, between epochs, and, from another thread, anywhere, in validation too.
#[test]
fn a_training_that_is_stopped_and_resumed_comes_to_the_same_bits() {
    let bench = Bench::new();
    let sets = ["train.epochs=6", "train.patience=0", "eval.batch=4", "log.every=4", "train.accumulate=2"];
    let start = Instant::now();
    fit("sasrec", &bench.path("whole"), &sets, FitOptions::default(), &mut quiet()).unwrap();
    let alone = start.elapsed();
    let run = bench.path("stopped");
    let stopped = |options: FitOptions, report: &mut Report| {
        let error = fit("sasrec", &run, &sets, options, report).expect_err("it is stopped");
        assert!(matches!(error, Error::Stopped(_)) && error.exit_code() == 130, "{error}");
        error.to_string()
    };
    let early = Stop::default();
    assert!(!early.request());
    let said = stopped(FitOptions { stop: early, ..FitOptions::default() }, &mut quiet());
    assert!(said.starts_with("stopped after step 1 (epoch 1), which is saved in "), "{said}");
    let stop = Stop::default();
    let mut report = Report::to(StopsAt("epoch 2", stop.clone()));
    let said = stopped(FitOptions { stop, resume: true, ..FitOptions::default() }, &mut report);
    assert!(said.contains("(epoch 3)"), "{said}");
    let mut stops = 0;
    loop {
        let stop = Stop::default();
        let request = stop.clone();
        let after = alone.mul_f64(0.02 + 0.03 * stops as f64);
        let timer = std::thread::spawn(move || {
            std::thread::sleep(after);
            request.request();
        });
        let ended =
            fit("sasrec", &run, &sets, FitOptions { stop, resume: true, ..FitOptions::default() }, &mut quiet());
        timer.join().unwrap();
        match ended {
            Ok(()) => break,
            Err(e) => assert!(matches!(e, Error::Stopped(_)), "{e}"),
        }
        stops += 1;
        assert!(stops < 100, "no progress");
    }
    let model = |run: &str| fs::read(bench.path(run).join("model.safetensors")).unwrap();
    assert!(model("whole") == model("stopped"), "after {stops} stops");
    assert_eq!(bench.lines("whole"), bench.lines("stopped"));
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let killed = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

/// The program, started, once `sign` is there.
#[cfg(unix)]
fn started(bench: &Bench, args: &[&str], sign: &str) -> Child {
    let mut child = bench.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while !bench.path(sign).exists() && start.elapsed() < Duration::from_secs(60) {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// What the program said to the end; it must end with exit code 130.
#[cfg(unix)]
fn ended(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{error}");
    error
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_resume() {
    let bench = Bench::new();
    let long =
        [&["train", "sasrec", "--data", DATA][..], &SMALL, &["--set=train.epochs=100000", "--set=train.patience=0"]];
    let long = long.concat();
    for (n, name) in ["-INT", "-TERM"].into_iter().enumerate() {
        let run = format!("runs/sasrec-{}", n + 1);
        let child = started(&bench, &long, &format!("{run}/metrics.jsonl"));
        signal(&child, name);
        let error = ended(child);
        let command = format!("wgrec train sasrec --resume --out {run}");
        assert!(error.contains("stopped after step ") && !error.contains("error:"), "{error}");
        assert!(error.trim_end().ends_with(&format!("resume by: {command}")), "{error}");
        let step: u64 =
            error.split("after step ").nth(1).unwrap().split(' ').next().unwrap().replace(',', "").parse().unwrap();
        let most = format!("--set=train.max_steps={}", step + 3);
        let resume: Vec<&str> = command.split(' ').skip(1).chain([&*most]).collect();
        let (out, _) = bench.ends(0, &resume);
        assert!(out.contains("resumed  after step ") && out.contains("test "), "{out}");
        assert_eq!(bench.lines(&run).last().unwrap()["step"], step + 3);
    }
    // The second time at once, whatever is under way.
    let mut child = started(&bench, &long, "runs/sasrec-3/metrics.jsonl");
    for _ in 0..100 {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        signal(&child, "-INT");
    }
    ended(child);
}

#[cfg(unix)]
#[test]
fn a_sweep_that_is_stopped_goes_on_by_the_same_command() {
    let bench = Bench::new();
    let file = "model = \"sasrec\"\n[settings]\ntrain.epochs = 40\ntrain.patience = 0\ntrain.batch = 32\ndata.max_len = 8\n\
                model.layers = 1\n[grid]\nmodel.dim = [16, 32]\n";
    fs::write(bench.path("a sweep.toml"), file).unwrap();
    let args = ["sweep", "a sweep.toml", "--data", DATA, "--device=cpu"];
    let child = started(&bench, &args, "runs/a sweep/dim=16,seed=1/metrics.jsonl");
    signal(&child, "-INT");
    let error = ended(child);
    assert!(
        error.trim_end().ends_with(&format!("resume by: wgrec sweep 'a sweep.toml' --data {DATA} --device=cpu")),
        "{error}"
    );
    assert!(!bench.path("runs/a sweep/dim=32,seed=1").exists());
    let (out, _) = bench.ends(0, &args);
    assert!(!out.contains("failed"), "{out}");
    assert_eq!(bench.lines("runs/a sweep/dim=32,seed=1").len(), 40);
}

/// Five users, each with all thirty items at the test part's targets: said before the first step, but where all items are ranked.
#[test]
fn what_cannot_be_ranked_is_said_before_the_training() {
    let bench = Bench::new();
    let events =
        (0..5).flat_map(|user| (0..30).map(move |i| format!("u{user},i{},{}\n", (i + 7 * user) % 30, 100 + i)));
    fs::write(bench.path("all.csv"), "user,item,timestamp\n".to_string() + &events.collect::<String>()).unwrap();
    let args = [&["train", "sasrec", "--data=all.csv", "--out=run"][..], &SMALL].concat();
    let (out, error) = bench.ends(2, &args);
    assert!(error.contains("nothing to rank: the users that are asked about have each of the 30 items"), "{error}");
    assert!(!out.contains("epoch") && !bench.path("run").exists(), "{out}");
    let (out, _) = bench.ends(0, &[&args[..], &["--set=eval.mask_history=false"]].concat());
    assert!(out.contains("test ") && !out.contains("(masked") && !out.contains("left out:"), "{out}");
    let (out, _) = bench.ends(0, &["eval", "--run=run"]);
    assert!(out.contains("5 targets") && out.contains("unmasked") && !out.contains("NaN"), "{out}");
    let (_, error) = bench.ends(2, &["eval", "--run=run", "--lists=31"]);
    assert!(error.contains("--lists: found 31; expected at most 30"), "{error}");
    let recommend = ["recommend", "--run=run", "--output=recs.csv", "--unmasked"];
    let (out, _) = bench.ends(0, &[&recommend[..], &["-k5000"]].concat());
    assert!(out.contains("saved    30 items for 5 users: recs.csv"), "{out}");
    let (_, error) = bench.ends(2, &[&recommend[..], &["--users=none"]].concat());
    assert!(error.contains("none: found no such file; expected ids of users, one a line"), "{error}");
    let (_, error) = bench.ends(2, &["eval", "--run=run", "--items=none"]);
    assert!(error.contains("none: found no such file; expected a file of users and items"), "{error}");
}

#[test]
fn flags_that_are_settings_name_the_setting() {
    let bench = Bench::new();
    for (flags, hint) in [
        (&["--epochs", "3"][..], "--epochs: settings are changed by --set, as in --set train.epochs=3"),
        (&["--lr=1e-3"], "--lr: settings are changed by --set, as in --set train.lr=1e-3"),
        (&["--learning-rate", "0.01"], "--set train.lr=0.01"),
        (&["--batch_size", "64"], "--set train.batch=64"),
        (&["--batch-size=64"], "--set train.batch=64"),
        (&["--dim", "32"], "--set model.dim=32"),
        (&["--data.max_len", "20"], "--set data.max_len=20"),
        (&["--max-len"], "--set data.max_len=VALUE"),
        (&["--loss", "softmax"], "--set loss.kind=softmax"),
    ] {
        let (_, error) = bench.ends(2, &[&["train", "sasrec"][..], flags].concat());
        assert!(error.starts_with("error: there is no flag ") && error.contains(hint), "{flags:?}: {error}");
    }
    for args in [&["train", "sasrec", "--colour", "red"][..], &["devices", "--lr", "1"]] {
        let (_, error) = bench.ends(2, args);
        assert!(error.contains("unexpected argument"), "{error}");
    }
}

#[test]
fn what_a_model_of_two_phases_does_with_one_is_said() {
    let bench = Bench::new();
    let (out, _) = bench.train(0, "dpcpl", "run", &["--set=train.epochs=1", "--set=model.blocks=2"]);
    assert!(out.contains("rep.csv has no behaviours: dpcpl is trained in one phase"), "{out}");
    let (out, _) = bench.train(0, "sasrec", "other", &["--set=train.epochs=1"]);
    assert!(!out.contains("phase"), "{out}");
}

/// As in a container.
#[test]
fn without_a_desktop_there_is_nothing_to_complain_of() {
    let bench = Bench::new();
    for device in ["auto", "gpu"] {
        let args = ["train", "pop", "--data", DATA, "--device", device, "--out", device];
        let output = bench.command(&args).env_remove("XDG_RUNTIME_DIR").output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{device}");
    }
}
