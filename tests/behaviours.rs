//! Several behaviours and two phases: what is written, what is refused, and that nothing of the future is ever read.

mod program;

use program::fitting;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use wgrec::data::{Part, Split};
use wgrec::train::{RunFolder, Session};

/// An event: user, item, behaviour; its position in the list is its time.
type Event = (u32, u32, &'static str);

const USERS: u32 = 40;
const ITEMS: u32 = 24;

/// A folder with a data set in it, where the program runs.
struct Bench {
    folder: tempfile::TempDir,
}

/// Small and quick, with every part of a training in it.
const SMALL: [&str; 11] = [
    "--device=cpu",
    "--set=data.target=buy",
    "--set=data.max_len=6",
    "--set=model.dim=16",
    "--set=model.prompt.tokens=2",
    "--set=model.prompt.factors=2",
    "--set=train.batch=16",
    "--set=train.epochs=3",
    "--set=train.lr=0.01",
    "--set=eval.batch=32",
    "--set=log.every=5",
];

impl Bench {
    fn new() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        bench.write("data.csv", &events());
        bench
    }

    fn write(&self, name: &str, events: &[Event]) {
        let line = |(time, (user, item, behaviour)): (usize, &Event)| {
            format!("u{user},i{item},{behaviour},{}\n", 1_600_000_000 + 60 * time)
        };
        let lines: String = events.iter().enumerate().map(line).collect();
        fs::write(self.path(name), "user,item,behavior,timestamp\n".to_string() + &lines).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgrec"));
        command.args(args).current_dir(self.folder.path()).env("WGREC_CACHE", self.path("cache"));
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// Runs the program, which must refuse with exit code 2 and say `why`.
    fn refuses(&self, args: &[&str], why: &str) {
        let Output { status, stderr, .. } = self.command(args).output().unwrap();
        let error = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{args:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(why), "{args:?}: {error}");
    }

    fn small<'a>(&self, model: &'a str, data: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["train", model, data, "--out", out][..], &fitting(model, &SMALL), more].concat()
    }

    fn train(&self, model: &str, data: &str, out: &str, more: &[&str]) -> String {
        self.ok(&self.small(model, data, out, more))
    }

    fn json(&self, file: &str) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path(file)).unwrap()).unwrap()
    }

    /// Names and bytes of a file of parameters.
    fn tensors(&self, file: &str) -> Vec<(String, Vec<u8>)> {
        let bytes = fs::read(self.path(file)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut all: Vec<_> = file.tensors().into_iter().map(|(name, t)| (name, t.data().to_vec())).collect();
        all.sort();
        all
    }
}

/// Users click through the items in a circle, and now and then cart and buy what they clicked. Items come all at first.
fn events() -> Vec<Event> {
    let mut all: Vec<Event> = (0..ITEMS).map(|item| (item % USERS, item, "click")).collect();
    let mut state = 7u32;
    let mut draw = |n: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % n
    };
    let mut at: Vec<u32> = (0..USERS).map(|user| user % ITEMS).collect();
    for _ in 0..24 {
        for user in 0..USERS {
            let place = &mut at[user as usize];
            *place = (*place + 1 + draw(2)) % ITEMS;
            all.push((user, *place, "click"));
            match draw(5) {
                0 => all.push((user, *place, "cart")),
                1 => all.push((user, *place, "buy")),
                // Not what was clicked last.
                2 => all.push((user, (*place + 2) % ITEMS, "buy")),
                _ => {}
            }
        }
    }
    all
}

#[test]
fn two_phases_and_several_behaviours() {
    let bench = Bench::new();
    let text = bench.train("dpcpl", "--data=data.csv", "run", &[]);
    for part in ["phase    pretrain", "phase    tune", "leave-one-out of buy", "of them trained", ", copy "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let backbone = bench.tensors("run/model.safetensors");
    assert!(backbone.iter().all(|(name, _)| !name.starts_with("prompts.")));
    let prompts = bench.tensors("run/prompts.buy.safetensors");
    assert!(!prompts.is_empty() && prompts.iter().all(|(name, _)| name.starts_with("prompts.")));
    let metrics = bench.json("run/metrics.json");
    assert_eq!(metrics["target"], "buy");
    assert_eq!(metrics["cut"], serde_json::json!({"share": 0.6, "by": "time"}));
    assert!(metrics["tuned_parameters"].as_u64() < metrics["parameters"].as_u64());
    assert!(metrics["test"]["ndcg@10"].is_number() && metrics["copy"]["test"]["ndcg@10"].is_number());
    let group = |name: &str| metrics["groups"][name]["targets"].as_u64().unwrap();
    assert_eq!(group("cold") + group("warm"), metrics["targets"].as_u64().unwrap());
    assert_eq!(group("seen") + group("new"), metrics["targets"].as_u64().unwrap());
    let pretrain = bench.json("run/pretrain.json");
    assert!(pretrain["valid"]["ndcg@10"].is_number() && pretrain.get("test").is_none());

    // To another behaviour: the backbone stays, and both are there to be picked.
    bench.refuses(&["recommend", "--run=run", "--behaviour=cart", "--output=a.csv"], "was not tuned to \"cart\"");
    bench.refuses(&["train", "dpcpl", "--from=run"], "the run is itself one for buy");
    bench.ok(&["train", "dpcpl", "--from=run", "--set=data.target=cart"]);
    bench.refuses(&["train", "dpcpl", "--from=run", "--set=data.target=cart"], "is there already");
    // A backbone goes with its data, split and network.
    for (setting, why) in [
        ("--set=data.cut=0.3", "data.cut is 0.6 in "),
        ("--set=data.max_len=5", "data.max_len is 6"),
        ("--set=model.layers=1", "model.layers is 2"),
        ("--set=data.behaviours=[\"buy\", \"click\"]", "another data set"),
    ] {
        bench.refuses(&["train", "dpcpl", "--from=run", "--out=no", setting], why);
        assert!(!bench.path("no").exists(), "{setting}");
    }
    bench.refuses(&["train", "sasrec", "--from=run"], "this is a run of dpcpl; expected one of sasrec");
    assert_eq!(bench.tensors("run/model.safetensors"), backbone);
    assert_eq!(bench.tensors("run/prompts.buy.safetensors"), prompts);
    assert_ne!(bench.tensors("run/prompts.cart.safetensors"), prompts);
    assert_eq!(bench.json("run/metrics.cart.json")["target"], "cart");
    assert_eq!(bench.json("run/metrics.json"), metrics);
    for behaviour in ["buy", "cart"] {
        let behaviour = format!("--behaviour={behaviour}");
        bench.ok(&["recommend", "--run=run", &behaviour, "--output=a.csv"]);
        let (text, value) =
            (bench.ok(&["eval", "--run=run", &behaviour, "--metrics=mrr"]), fs::read(bench.path("a.csv")));
        assert!(
            text.contains(&format!("leave-one-out of {}", &behaviour[12..])) && value.unwrap().len() > 1000,
            "{text}"
        );
    }
    // In a folder of its own, which then holds all it needs; and all of the network.
    bench.ok(&["train", "dpcpl", "--from=run", "--out=full", "--set=model.prompt.source=off"]);
    let tuned = bench.tensors("full/tuned.buy.safetensors");
    assert_eq!(tuned.iter().map(|t| &t.0).collect::<Vec<_>>(), backbone.iter().map(|t| &t.0).collect::<Vec<_>>());
    assert_ne!(tuned, backbone);
    assert_eq!(bench.tensors("full/model.safetensors"), backbone);
    let text = bench.ok(&["compare", "run", "full", "--targets=new"]);
    assert!(text.contains("leave-one-out of buy, new alone"), "{text}");
}

/// A target behaviour calls for all behaviours of the world, whatever the model.
#[test]
fn the_worlds_buys_are_a_target() {
    let bench = Bench::new();
    let later =
        ["--set=data.learn=later", "--set=data.cut=0.6", "--set=model.behaviours=true", "--set=train.max_steps=2"];
    let text = bench.train("sasrec", "--set=world.users=150", "run", &later);
    assert!(text.contains("leave-one-out of buy"), "{text}");
    let named = bench.json("run/metrics.json");
    assert_eq!(named["behaviours"], serde_json::json!(["click", "cart", "favourite", "buy"]));
}

#[test]
fn phases_one_by_one_come_to_the_same() {
    let bench = Bench::new();
    let tempered = "--set=phase.tune.temperature=4";
    bench.train("dpcpl", "--data=data.csv", "both", &[tempered]);
    bench.train("dpcpl", "--data=data.csv", "first", &["--set=phases=[\"pretrain\"]"]);
    bench.refuses(&["recommend", "--run=first", "--behaviour=buy", "--output=a.csv"], "was not tuned to \"buy\"");
    bench.ok(&["train", "dpcpl", "--from=first", tempered]);
    bench.ok(&["train", "dpcpl", "--from=first", "--out=second", "--set=loss.temperature=4"]);
    bench.ok(&["train", "dpcpl", "--from=first", "--out=another"]);
    let [both, first, second, another] =
        ["both", "first", "second", "another"].map(|run| bench.tensors(&format!("{run}/prompts.buy.safetensors")));
    assert!(both == first && both == second && both != another);
    assert_eq!(bench.json("first/metrics.buy.json")["test"], bench.json("both/metrics.json")["test"]);
    bench.ok(&["eval", "--run=first", "--behaviour=buy"]);
}

#[test]
fn a_training_of_two_phases_that_is_killed_comes_to_the_same_end() {
    let bench = Bench::new();
    bench.train("dpcpl", "--data=data.csv", "whole", &[]);
    let args = bench.small("dpcpl", "--data=data.csv", "killed", &["--resume", "--set=train.checkpoint_seconds=0"]);
    for sign in ["killed/checkpoint/pretrain.safetensors", "killed/pretrain.jsonl", "killed/metrics.jsonl"] {
        let mut child = bench.command(&args).stdout(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while !bench.path(sign).exists() && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if sign == "killed/checkpoint/pretrain.safetensors" {
            let unfinished = ["train", "dpcpl", "--from=killed", "--set=data.target=cart"];
            bench.refuses(&unfinished, "the phase pretrain has not come to its end here");
        }
    }
    bench.ok(&args);
    for file in ["model.safetensors", "prompts.buy.safetensors"] {
        assert_eq!(bench.tensors(&format!("killed/{file}")), bench.tensors(&format!("whole/{file}")), "{file}");
    }
    assert_eq!(bench.json("killed/metrics.json")["test"], bench.json("whole/metrics.json")["test"]);
    // A second phase in a folder of its own, killed as early as can be.
    let from = ["train", "dpcpl", "--from=whole", "--out=own", "--resume", "--set=train.checkpoint_seconds=0"];
    for _ in 0..3 {
        let mut child = bench.command(&from).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(40));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    bench.ok(&from);
    assert_eq!(bench.tensors("own/prompts.buy.safetensors"), bench.tensors("whole/prompts.buy.safetensors"));
}

/// What is not trained is kept and read back like what is.
#[test]
fn a_part_of_the_parameters_is_trained() {
    let bench = Bench::new();
    let only = "--set=train.only=[\"item_embedding\"]";
    let ranks = |run: &str| bench.ok(&["eval", &format!("--run={run}"), "--metrics=mrr,ndcg@10"]);
    bench.train("sasrec", "--data=data.csv", "only", &[only]);
    let mrr = bench.json("only/metrics.json")["test"]["mrr"].as_f64().unwrap();
    assert!(ranks("only").contains(&format!("mrr          {mrr:.4}")), "{mrr} {}", ranks("only"));
    bench.train("sasrec", "--data=data.csv", "longer", &[only, "--set=train.max_steps=4"]);
    bench.ok(&bench.small("sasrec", "--data=data.csv", "longer", &[only, "--resume", "--set=train.max_steps=1000"]));
    assert_eq!(bench.tensors("longer/model.safetensors"), bench.tensors("only/model.safetensors"));
    bench.train("dpcpl", "--data=data.csv", "mixed", &["--set=phase.tune.only=[\"item_embedding\", \"prompts.*\"]"]);
    let mrr = bench.json("mixed/metrics.json")["test"]["mrr"].as_f64().unwrap();
    assert!(ranks("mixed").contains(&format!("mrr          {mrr:.4}")), "{mrr}");
    assert!(bench.tensors("mixed/prompts.buy.safetensors").iter().any(|(name, _)| name == "item_embedding"));
    bench.refuses(
        &bench.small("dpcpl", "--data=data.csv", "no", &["--set=train.only=[\"nix\"]"]),
        "train.only: \"nix\"",
    );
    assert!(!bench.path("no").exists(), "the second phase is checked before the first begins");
}

/// Every event of a user at `from` and after it whose behaviour is not `but` gets another item.
fn changed(events: &[Event], from: &dyn Fn(u32) -> Option<usize>, but: &str) -> Vec<Event> {
    let mut places = vec![0; USERS as usize];
    let mut all = events.to_vec();
    for (user, item, behaviour) in &mut all {
        let place = &mut places[*user as usize];
        if from(*user).is_some_and(|from| *place >= from) && *behaviour != but {
            *item = (*item + 7) % ITEMS;
        }
        *place += 1;
    }
    all
}

/// Places of each user's last buy but one, and of the last.
fn targets(bench: &Bench, run: &str) -> Vec<Option<(usize, usize)>> {
    let (session, ..) = Session::of_run(&mut RunFolder::open(&bench.path(run)).unwrap(), None, |config| {
        config.data.path = Some(bench.path("data.csv"));
    })
    .unwrap();
    let Session { data, split, .. } = &session;
    let mut places = vec![None; USERS as usize];
    let of = |split: &Split, part| split.targets(data, part).collect::<Vec<_>>();
    for ((user, valid), (_, test)) in of(split, Part::Valid).into_iter().zip(of(split, Part::Test)) {
        let number: usize = data.user_name(user)[1..].parse().unwrap();
        places[number] = Some((valid as usize, test as usize));
    }
    assert!(places.iter().flatten().count() > 20, "{places:?}");
    places
}

/// What is learned does not depend on events from the validation event on, nor does what is answered on what comes after the
/// question: windows, statistics, conversion ratios, the GRU of each behaviour, negatives and pre-training included.
#[test]
fn a_planted_future_event_changes_no_prediction() {
    let bench = Bench::new();
    // Prompts that weigh.
    let more = ["lr=0.05", "epochs=10", "patience=0", "batch=4"].map(|set| format!("--set=phase.tune.{set}"));
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let train = |data: &str, run: &str, more: &[&str]| bench.train("dpcpl", data, run, more);
    train("--data=data.csv", "run", &more);
    let places = targets(&bench, "run");
    let ranks = |run: &str, part: &str| {
        let (run, part) = (format!("--run={run}"), format!("--split={part}"));
        bench.ok(&["eval", &run, &part, "--per-user=ranks.csv"]);
        fs::read_to_string(bench.path("ranks.csv")).unwrap()
    };
    let (valid, test) = (ranks("run", "valid"), ranks("run", "test"));
    // Behind the validation event; buys stay, or other events would be asked for.
    let behind = |user: u32| places[user as usize].map(|(valid, _)| valid + 1);
    bench.write("future.csv", &changed(&events(), &behind, "buy"));
    train("--data=future.csv", "future", &more);
    for file in ["model.safetensors", "prompts.buy.safetensors"] {
        assert_eq!(bench.tensors(&format!("future/{file}")), bench.tensors(&format!("run/{file}")), "{file}");
    }
    assert_eq!(ranks("future", "valid"), valid);
    assert_ne!(ranks("future", "test"), test, "the test's own history did change");
    // Behind the test event.
    let behind = |user: u32| places[user as usize].map(|(_, test)| test + 1);
    bench.write("last.csv", &changed(&events(), &behind, "buy"));
    train("--data=last.csv", "last", &more);
    assert_eq!((ranks("last", "valid"), ranks("last", "test")), (valid, test));
    // Candidates that are drawn, too, are drawn without a look at what pre-training is not to know.
    let valid = |data: &str, run: &str| -> Vec<serde_json::Value> {
        train(data, run, &["--set=eval.protocol=sampled:4"]);
        let lines = fs::read_to_string(bench.path(run).join("pretrain.jsonl")).unwrap();
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["valid"].clone()).collect()
    };
    assert_eq!(valid("--data=data.csv", "drawn"), valid("--data=future.csv", "drawn-future"));
    // The same on a change of the past, which must show.
    bench.write("past.csv", &changed(&events(), &|user| places[user as usize].map(|(valid, _)| valid - 1), "buy"));
    train("--data=past.csv", "past", &more);
    assert_ne!(ranks("past", "valid"), ranks("run", "valid"));
}

/// A SASRec of several behaviours, pre-trained.
const PRETRAINED: [&str; 3] = ["--set=model.behaviours=true", "--set=train.patience=0", "--set=model.hidden_share=0.4"];

/// A network is pre-trained by tasks of its own, then tuned whole: nothing of the future is read, and a backbone is kept.
#[test]
fn pre_training_by_a_pretext_task_reads_no_future() {
    let bench = Bench::new();
    let train = |data: &str, run: &str, task: &str| {
        let task = format!("--set=model.pretext.task={task}");
        bench.train("sasrec", data, run, &[&PRETRAINED[..], &[&task]].concat())
    };
    for (number, task) in ["next", "mask", "contrast"].into_iter().enumerate() {
        let text = train("--data=data.csv", task, task);
        assert!(text.contains("phase    pretrain") && text.contains("phase    tune"), "{text}");
        let places = targets(&bench, task);
        let behind = |user: u32| places[user as usize].map(|(valid, _)| valid + 1);
        bench.write("future.csv", &changed(&events(), &behind, "buy"));
        let future = format!("{task}-future");
        train("--data=future.csv", &future, task);
        for file in ["model.safetensors", "tuned.buy.safetensors"] {
            assert_eq!(bench.tensors(&format!("{future}/{file}")), bench.tensors(&format!("{task}/{file}")), "{file}");
        }
        // Pre-training knows nothing after the cut, tuning does.
        let mut later = events();
        let cut = (later.len() as f64 * 0.6) as usize;
        later[cut..].iter_mut().for_each(|(_, item, _)| *item = (*item + 7) % ITEMS);
        bench.write("later.csv", &later);
        let later = format!("{task}-later");
        train("--data=later.csv", &later, task);
        let same = |file: &str| bench.tensors(&format!("{later}/{file}")) == bench.tensors(&format!("{task}/{file}"));
        assert!(same("model.safetensors") && !same("tuned.buy.safetensors"), "{task}");
        // The same on a change of the past, which must show.
        let past = |user: u32| places[user as usize].map(|_| 3);
        bench.write("past.csv", &changed(&events(), &past, ""));
        let past = format!("{task}-past");
        train("--data=past.csv", &past, task);
        assert_ne!(
            bench.tensors(&format!("{past}/model.safetensors")),
            bench.tensors(&format!("{task}/model.safetensors"))
        );

        let [backbone, tuned] = ["model", "tuned.buy"].map(|file| bench.tensors(&format!("{task}/{file}.safetensors")));
        let own = |name: &str| name.starts_with("pretext.");
        assert_eq!(backbone.iter().filter(|(name, _)| own(name)).count(), [0, 4, 0][number]);
        let names: Vec<&String> = backbone.iter().map(|(name, _)| name).filter(|name| !own(name)).collect();
        assert_eq!(tuned.iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
        let pretrain = bench.json(&format!("{task}/pretrain.json"));
        assert!(pretrain["valid"]["ndcg@10"].as_f64() > Some(0.1), "{task}: {}", pretrain["valid"]);
    }
    // A window that is the only one of its batch has no other to differ from: the contrast is 0 whatever its scale.
    let first_loss = |run: &str, setting: &str| {
        let task = [
            "--set=model.pretext.task=contrast",
            "--set=phases=[\"pretrain\"]",
            "--set=phase.pretrain.batch=1",
            setting,
        ];
        bench.train("sasrec", "--data=data.csv", run, &[&PRETRAINED[..], &task].concat());
        let lines = fs::read_to_string(bench.path(run).join("pretrain.jsonl")).unwrap();
        serde_json::from_str::<serde_json::Value>(lines.lines().next().unwrap()).unwrap()["loss"].as_f64().unwrap()
    };
    let none = first_loss("no-contrast", "--set=model.pretext.contrast_weight=0");
    assert_eq!(first_loss("sharp", "--set=model.pretext.temperature=0.0001"), none);
    // Another behaviour on the same backbone; the task goes with it.
    bench.ok(&["train", "sasrec", "--from=mask", "--set=data.target=cart"]);
    bench.ok(&["recommend", "--run=mask", "--behaviour=cart", "--output=a.csv"]);
    let other = ["train", "sasrec", "--from=mask", "--out=no", "--set=model.pretext.task=contrast"];
    bench.refuses(&other, "model.pretext.task is \"mask\" in ");
    assert!(!bench.path("no").exists());
    // The first phase can be run by itself.
    let alone = [&PRETRAINED[..], &["--set=model.pretext.task=mask", "--set=phases=[\"pretrain\"]"]].concat();
    bench.train("sasrec", "--data=data.csv", "alone", &alone);
    assert_eq!(bench.tensors("alone/model.safetensors"), bench.tensors("mask/model.safetensors"));
    bench.ok(&["eval", "--run=alone", "--split=valid", "--metrics=mrr"]);
    bench.ok(&["train", "sasrec", "--from=alone"]);
    assert_eq!(bench.tensors("alone/tuned.buy.safetensors"), bench.tensors("mask/tuned.buy.safetensors"));
}

/// Items that a file lists are asked for after whole histories, of the users that have one.
#[test]
fn items_of_a_file_are_ranked() {
    let bench = Bench::new();
    bench.train("sasrec", "--data=data.csv", "run", &["--set=train.epochs=1"]);
    fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["eval", "--run=run", "--metrics=mrr"], more].concat()
    }
    // Each user's rarest item, some of them twice; and what is not in the data.
    let rarest = |user: u32| {
        let count = |item: u32| events().iter().filter(|event| (event.0, event.1) == (user, item)).count();
        (0..ITEMS).min_by_key(|&item| count(item)).unwrap()
    };
    let known: Vec<(u32, u32)> = (0..10).rev().map(|user| (user, rarest(user))).collect();
    let mut text = "user\titem\n".to_string();
    known.iter().chain(&known[..3]).for_each(|(user, item)| text += &format!("u{user}\ti{item}\n"));
    text += "u3\tmissing\nnobody\ti1\nnobody\ti2\n";
    fs::write(bench.path("items.tsv"), text).unwrap();
    let text = bench.ok(&eval(&["--items=items.tsv", "--per-user=ranks.csv"]));
    let seen = known.iter().filter(|(user, item)| events().iter().any(|e| (e.0, e.1) == (*user, *item))).count();
    let said = format!(
        "items.tsv: 10 items of 10 users, asked for after whole histories ({seen} are in them); 3 left out (1 user, 1 item not in \
         the data); full ranking, items of buy masked"
    );
    assert!(text.contains(&said) && text.contains("items    10 targets"), "{text}");
    let ranks = fs::read_to_string(bench.path("ranks.csv")).unwrap();
    let rows: Vec<Vec<&str>> = ranks.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 10);
    for row in rows {
        let user: u32 = row[0][1..].parse().unwrap();
        let whole = events().iter().filter(|event| event.0 == user).count();
        assert_eq!((row[1], row[2]), (&*format!("i{}", rarest(user)), &*whole.to_string()), "{ranks}");
    }
    assert!(bench.ok(&eval(&["--items=items.tsv", "--protocol=sampled:4"])).contains("ranked among 4 items"));
    bench.refuses(&eval(&["--items=items.tsv", "--split=valid"]), "cannot be used with");
    bench.refuses(&eval(&["--items=nothing.tsv"]), "nothing.tsv");
    fs::write(bench.path("wrong.tsv"), "user\tthing\nu1\ti1\n").unwrap();
    bench.refuses(&eval(&["--items=wrong.tsv"]), "wrong.tsv:1: found \"user\\tthing\"; expected");
    bench.refuses(&eval(&["--items=wrong.tsv", "--format=delimited"]), "expected a column of items");
    let columns =
        ["--format=delimited", "--set=data.columns.user=who", "--set=data.columns.item=what", "--set=train.epochs=1"];
    let renamed = fs::read_to_string(bench.path("data.csv")).unwrap().replacen("user,item", "who,what", 1);
    fs::write(bench.path("renamed.csv"), &renamed).unwrap();
    bench.train("sasrec", "--data=renamed.csv", "renamed", &columns);
    bench.ok(&["eval", "--run=renamed", "--items=renamed.csv", "--format=delimited"]);
    bench.ok(&["eval", "--run=renamed", "--items=items.tsv"]);
    fs::write(bench.path("wrong.tsv"), "user\titem\nu1\ti1\nu2\n").unwrap();
    bench.refuses(&eval(&["--items=wrong.tsv"]), "wrong.tsv:3");
    fs::write(bench.path("wrong.tsv"), "user\titem\nu1\tmissing\nnobody\ti1\n").unwrap();
    bench.refuses(&eval(&["--items=wrong.tsv"]), "2 pairs of a user and an item, none of them both in the data");
}

#[test]
fn baselines_read_behaviours() {
    let bench = Bench::new();
    let pretrained = ["--set=data.cut=0.6", "--set=model.behaviours=true", "--set=model.hidden=16"];
    for model in ["sasrec", "gru4rec", "bert4rec", "fmlp"] {
        bench.train(model, "--data=data.csv", model, &fitting(model, &pretrained));
        assert!(
            bench.tensors(&format!("{model}/model.safetensors")).iter().any(|(name, _)| name == "behaviour_embedding")
        );
    }
    bench.ok(&["compare", "sasrec", "gru4rec"]);
    bench.train("sasrec", "--data=data.csv", "later", &["--set=data.cut=0.6", "--set=data.learn=later"]);
    bench.train("sasrec", "--data=data.csv", "other", &["--set=data.cut=0.5"]);
    bench.refuses(&["compare", "later", "other"], "cut: ");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let bench = Bench::new();
    let mut ratings = "user,item,rating,timestamp\n".to_string();
    (0..200).for_each(|i| ratings += &format!("u{},i{},3,{}\n", i % 10, i % 17, 1_600_000_000 + i));
    fs::write(bench.path("ratings.csv"), ratings).unwrap();
    let refuses = |model: &str, data: &str, more: &[&str], why: &str| {
        bench.refuses(&[&["train", model, data, "--device=cpu", "--out=no"][..], more].concat(), why);
        assert!(!bench.path("no").exists());
    };
    let own = "--data=data.csv";
    refuses(
        "dpcpl",
        own,
        &["--set=data.target=purchase"],
        "data.target: found \"purchase\"; expected one of click, cart, buy",
    );
    refuses("dpcpl", own, &["--set=data.behaviours=[\"click\", \"bye\"]"], "data.behaviours: found \"bye\"");
    refuses("dpcpl", own, &["--set=data.behaviours=[\"buy\", \"buy\"]"], "found \"buy\" twice");
    refuses("dpcpl", own, &["--set=data.cut=1.5"], "data.cut: found 1.5; expected a number above 0 and below 1");
    refuses("dpcpl", "--data=ratings.csv", &["--set=phases=[\"pretrain\"]"], "ratings.csv has no behaviours");
    refuses(
        "dpcpl",
        own,
        &["--set=phases=[\"later\"]"],
        "phases: found \"later\"; expected a phase of dpcpl: pretrain, tune",
    );
    refuses("dpcpl", own, &["--set=phases=[]"], "phases: found none; expected a phase of dpcpl: pretrain, tune");
    refuses("dpcpl", own, &["--set=phase.later.lr=1"], "phase.later: expected a phase of dpcpl: pretrain, tune");
    refuses("sasrec", own, &["--set=phase.tune.lr=1"], "phase.tune is set, but sasrec is trained in one phase");
    refuses("dpcpl", "--data=ratings.csv", &["--set=phase.tune.lr=1"], "phase.tune is set, but ratings.csv has no");
    refuses("sasrec", own, &["--set=phases=[\"tune\"]"], "phases is set, but sasrec is trained in one phase");
    refuses(
        "gru4rec",
        own,
        &["--set=model.pretext.task=mask"],
        "gru4rec has no setting \"model.pretext.task\"; it is one of sasrec",
    );
    refuses("sasrec", own, &["--set=model.pretext.mask=0.2"], "without model.pretext.task has no effect");
    refuses(
        "sasrec",
        own,
        &["--set=model.pretext.task=sort"],
        "model.pretext.task: found \"sort\"; expected next, mask or contrast",
    );
    refuses(
        "sasrec",
        own,
        &["--set=model.pretext.crop=1.5"],
        "model.pretext.crop: found 1.5; expected a number of at least 0 and at most 1",
    );
    refuses("sasrec", own, &["--set=model.pretext.temperature=0"], "model.pretext.temperature: found 0; expected");
    refuses("dpcpl", own, &["--set=train.temperature=1e-45"], "train.temperature: found");
    refuses(
        "dpcpl",
        own,
        &["--set=loss.temperature=0"],
        "loss.temperature: found 0; expected a number of at least 0.0001 and at most 1000000",
    );
    let task = ["--set=model.pretext.task=contrast"];
    refuses("sasrec", "--data=ratings.csv", &task, "model.pretext.task is set, but the data have no behaviours");
    refuses("sasrec", own, &["--set=data.learn=later"], "needs a data.cut");
    refuses("sasrec", "--data=ratings.csv", &["--set=data.target=buy"], "the data has no behaviours");
    refuses("dpcpl", own, &["--set=phases=[\"tune\"]"], "--from");
    bench.refuses(&["train", "dpcpl", "--from=nowhere"], "no run is here");
}
