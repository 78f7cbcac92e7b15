//! A training of one task after the other.

mod program;

use program::Bench;
use std::fmt::Write;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

const USERS: u32 = 60;
const ITEMS: u32 = 40;

/// Whose last event is of another item than `of` says.
type Last = fn(user: u32, item: u32) -> u32;

fn as_it_is(_: u32, item: u32) -> u32 {
    item
}

/// A folder `name` of ratings, of users with a colour and items with genres; `last` decides over the last event of each user.
fn ratings(bench: &Bench, name: &str, last: Last, colour: impl Fn(u32) -> u32) {
    fs::create_dir(bench.path(name)).unwrap();
    let mut events = "user_id,item_id,rating,timestamp\n".to_string();
    let mut users = "user_id,colour\n".to_string();
    let mut items = "item_id,title,genres\n".to_string();
    for user in 0..USERS {
        // The first user has all items, so that they are numbered alike whatever the last events are.
        let many = if user == 0 { ITEMS + 2 } else { 8 + user % 9 };
        for at in 0..many {
            let item = if user == 0 { at % ITEMS } else { (user * 7 + at * (3 + user % 4) + at * at) % ITEMS };
            let item = if at + 1 == many { last(user, item) } else { item };
            writeln!(events, "u{user},i{item},{},{}", 3 + (user + at) % 3, 1000 + at).unwrap();
        }
        writeln!(users, "u{user},c{}", colour(user)).unwrap();
    }
    for item in 0..ITEMS {
        writeln!(items, "i{item},Title {item},{}", ["Drama|Comedy", "Comedy", "War", "Comedy|War"][item as usize % 4])
            .unwrap();
    }
    fs::write(bench.path(name).join("events.csv"), events).unwrap();
    fs::write(bench.path(name).join("users.csv"), users).unwrap();
    fs::write(bench.path(name).join("items.csv"), items).unwrap();
}

fn bench() -> Bench {
    let bench = Bench::new();
    ratings(&bench, "data", as_it_is, |user| user % 3);
    let task = |name: &str, rest: &str| format!("[[task]]\nname = \"{name}\"\n{rest}\n");
    let items = task("next", "label = \"item\"") + &task("liked", "where = \"rating >= 4\"\nlabel = \"item\"");
    let classes = task("genre", "label = \"category\"\ncategories = true") + &task("colour", "label = \"colour\"");
    fs::write(bench.path("two.toml"), &items).unwrap();
    fs::write(bench.path("more.toml"), &classes).unwrap();
    fs::write(bench.path("four.toml"), items + &classes).unwrap();
    bench
}

fn pcl<'a>(more: &[&'a str]) -> Vec<&'a str> {
    small("pcl", &[&["--set=model.prompted=3"], more].concat())
}

/// A small training of a model.
fn small<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = [
        "train",
        model,
        "--device=cpu",
        "--set=data.max_len=6",
        "--set=model.dim=8",
        "--set=model.layers=1",
        "--set=train.batch=32",
        "--set=train.epochs=3",
        "--set=train.lr=0.01",
        "--set=log.every=3",
    ];
    [&small[..], more].concat()
}

fn tensors(bench: &Bench, file: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(bench.path(file)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = file.iter().map(|(name, tensor)| (name.to_string(), tensor.data().to_vec())).collect();
    all.sort();
    all
}

fn names(bench: &Bench, file: &str) -> Vec<String> {
    tensors(bench, file).into_iter().map(|(name, _)| name).collect()
}

/// Ranks of each user in a task, as text.
fn ranks(bench: &Bench, run: &str, task: &str) -> String {
    bench.ok(&["eval", "--run", run, "--task", task, "--per-user=ranks.csv"]);
    fs::read_to_string(bench.path("ranks.csv")).unwrap()
}

/// What the last task left of the others: each task's metric then and now.
fn kept(bench: &Bench, run: &str) -> Vec<(String, f64, f64)> {
    let all = bench.json(&format!("{run}/tasks.json"));
    let of = |task: &serde_json::Value| {
        (task["task"].as_str().unwrap().to_string(), task["then"].as_f64().unwrap(), task["now"].as_f64().unwrap())
    };
    all["tasks"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn nothing_is_forgotten() {
    let bench = bench();
    let shown = bench.ok(&pcl(&["--data=data", "--task=two.toml", "--out=run"]));
    assert!(shown.contains("kept     next: recall@10"), "{shown}");
    let before = (ranks(&bench, "run", "next"), ranks(&bench, "run", "liked"));
    let (backbone, prompts) =
        (fs::read(bench.path("run/next.safetensors")), fs::read(bench.path("run/liked.safetensors")));
    let of_prompts = |name: &String| name.starts_with("prompts.");
    assert!(
        names(&bench, "run/liked.safetensors").iter().all(of_prompts),
        "only prompts are stored of a task of items"
    );

    // Others are added, with a kill in between, or without.
    let copy = |to: &str| {
        fs::create_dir_all(bench.path(to).join("checkpoint")).unwrap();
        for file in
            fs::read_dir(bench.path("run")).unwrap().map(|file| file.unwrap().path()).filter(|file| file.is_file())
        {
            fs::copy(&file, bench.path(to).join(file.file_name().unwrap())).unwrap();
        }
    };
    copy("killed");
    let slow = ["--set=train.epochs=40", "--set=train.checkpoint_seconds=0"];
    let shown = bench.ok(&pcl(&[&slow[..], &["--continue=run", "--task=more.toml"]].concat()));
    assert!(shown.contains("kept     liked: recall@10") && shown.contains("kept     genre: recall@1"), "{shown}");
    assert!(kept(&bench, "run").iter().all(|(_, then, now)| then == now));
    assert_eq!(before, (ranks(&bench, "run", "next"), ranks(&bench, "run", "liked")));
    let after = (fs::read(bench.path("run/next.safetensors")), fs::read(bench.path("run/liked.safetensors")));
    assert!((backbone.unwrap(), prompts.unwrap()) == (after.0.unwrap(), after.1.unwrap()));
    let own = |name: &String| ["prompts.", "adapter.", "category_embedding"].iter().any(|own| name.starts_with(own));
    assert!(names(&bench, "run/genre.safetensors").iter().all(own), "of a task of classes the adapter too");

    let args = pcl(&[&slow[..], &["--continue=killed", "--task=more.toml"]].concat());
    let mut child = bench.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (begun, checkpoint) = (Instant::now(), bench.path("killed/checkpoint/colour.safetensors"));
    while !checkpoint.exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(before.0, ranks(&bench, "killed", "next"), "what was there can be used meanwhile");
    bench.ok(&args);
    for task in ["genre", "colour"] {
        let [a, b] = ["run", "killed"].map(|run| tensors(&bench, &format!("{run}/{task}.safetensors")));
        assert!(a == b, "{task}");
    }

    // In one run the tasks are others' equals but for the contextual prompts, which see all four.
    bench.ok(&pcl(&["--data=data", "--task=four.toml", "--out=at-once", "--set=model.context=earlier"]));
    bench.ok(&pcl(&["--data=data", "--task=two.toml", "--out=first", "--set=model.context=earlier"]));
    bench.ok(&pcl(&["--continue=first", "--task=more.toml"]));
    for task in ["next", "liked", "genre", "colour"] {
        let [a, b] = ["at-once", "first"].map(|run| tensors(&bench, &format!("{run}/{task}.safetensors")));
        assert!(a == b, "{task}");
    }
}

#[test]
fn other_methods() {
    let bench = bench();
    for (method, forgets) in [("scratch", false), ("fine-all", false), ("sinmo", true)] {
        let method_setting = format!("--set=model.method={method}");
        bench.ok(&pcl(&["--data=data", "--task=four.toml", "--out", method, &method_setting]));
        assert_eq!(kept(&bench, method).iter().any(|(_, then, now)| then != now), forgets, "{method}");
        assert!(
            names(&bench, &format!("{method}/liked.safetensors")).contains(&"item_embedding".to_string()),
            "{method}"
        );
    }
    let [a, b] = ["scratch", "fine-all"].map(|run| tensors(&bench, &format!("{run}/next.safetensors")));
    assert!(a == b);
    let shown = bench.ok(&["compare", "scratch", "fine-all", "--task=liked"]);
    assert!(shown.contains("scratch - fine-all"), "{shown}");
    // The first task of another run, the others in another order.
    let text = fs::read_to_string(bench.path("four.toml")).unwrap();
    let mut tasks: Vec<&str> = text.split("[[task]]").collect();
    tasks.swap(2, 3);
    fs::write(bench.path("swapped.toml"), tasks.join("[[task]]")).unwrap();
    bench.ok(&pcl(&["--from=scratch", "--task=swapped.toml", "--out=swapped", "--set=model.method=prompts"]));
    assert!(bench.path("swapped/genre.safetensors").is_file());
    let error =
        bench.refuses(&pcl(&["--from=scratch", "--task=two.toml", "--out=fewer", "--set=model.method=prompts"]));
    assert!(error.contains("the tasks of events are"), "{error}");
    bench.ok(&["eval", "--run=swapped", "--task=genre"]);
    bench.ok(&["recommend", "--run=scratch", "--task=liked", "--output=recs.csv"]);
    bench.ok(&["export", "users", "--run=scratch", "--task=liked", "--output=users.npy"]);
    for args in [
        &["recommend", "--run=scratch", "--task=genre", "--output=r.csv"][..],
        &["export", "items", "--run=scratch", "--task=genre", "--output=i.npy"],
    ] {
        let error = bench.refuses(args);
        assert!(error.contains("task genre is of classes; expected one of items"), "{error}");
    }
}

/// No task learns from what is asked for: parameters are the same whatever the targets of the tests and the labels of the users
/// who are tested are.
#[test]
fn nothing_leaks() {
    let bench = bench();
    let train = |data: &str| {
        let data_setting = format!("--data={data}");
        bench.ok(&pcl(&[&data_setting, "--task=four.toml", "--out", &format!("of-{data}"), "--set=train.keep=last"]));
    };
    train("data");
    // The last event is the test of `next` and `genre`.
    ratings(&bench, "planted", |user, item| (item + 1 + user % 5) % ITEMS, |user| user % 3);
    train("planted");
    for task in ["next", "liked", "genre", "colour"] {
        let [a, b] = ["data", "planted"].map(|data| tensors(&bench, &format!("of-{data}/{task}.safetensors")));
        assert!(a == b, "{task}");
    }
    let tested = ranks(&bench, "of-data", "colour");
    let tested: Vec<u32> =
        tested.lines().skip(1).map(|line| line[1..].split(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(tested.len(), 6, "a tenth of the users");
    ratings(&bench, "recoloured", as_it_is, |user| if tested.contains(&user) { (user + 1) % 3 } else { user % 3 });
    train("recoloured");
    let [a, b] = ["data", "recoloured"].map(|data| tensors(&bench, &format!("of-{data}/colour.safetensors")));
    assert!(a == b);
    let control = ranks(&bench, "of-recoloured", "colour");
    assert_ne!(control, ranks(&bench, "of-data", "colour"), "the labels are others");
}

/// In the embedded world a user's age shows in what is clicked, and the occupation in nothing: above chance it would be a leak.
#[test]
fn what_cannot_be_known_is_not_known() {
    let bench = bench();
    let of_users =
        |name: &str| format!("[[task]]\nname = \"{name}\"\nlabel = \"{name}\"\nsplit = \"users:50,10,40\"\n");
    let next = "[[task]]\nname = \"next\"\nlabel = \"item\"\n".to_string();
    fs::write(bench.path("users.toml"), next + &of_users("age") + &of_users("occupation")).unwrap();
    bench.ok(&[
        "train",
        "pcl",
        "--device=cpu",
        "--task=users.toml",
        "--out=run",
        "--set=train.epochs=5",
        "--set=train.lr=0.005",
    ]);
    let accuracy = |task: &str| bench.json(&format!("run/{task}.json"))["test"]["recall@1"].as_f64().unwrap();
    let (age, occupation) = (accuracy("age"), accuracy("occupation"));
    // 800 users: 3.1 standard errors above one class in ten is a chance of one in a thousand; ages are one in five.
    assert!(occupation < 0.1 + 3.1 * (0.09f64 / 800.0).sqrt(), "occupation {occupation}");
    assert!(age > 0.2 + 3.1 * (0.16f64 / 800.0).sqrt(), "age {age}");
}

#[test]
fn batches_rank_targets_among_each_other() {
    let bench = bench();
    bench.ok(&pcl(&["--data=data", "--task=two.toml", "--out=run", "--set=eval.protocol=batch:16"]));
    let shown = bench.ok(&["eval", "--run=run", "--task=next"]);
    assert!(
        shown.contains(
            "ranked among the targets of 16 users outside the history (drawn by seed 1; of the test the last batch has 12)"
        ),
        "{shown}"
    );
    let ranks = ranks(&bench, "run", "next");
    let places = ranks.lines().skip(1).map(|line| line.split(',').nth(5).unwrap().parse::<f64>().unwrap());
    assert!(places.fold(0.0, f64::max) <= 16.0, "{ranks}");
    // Among all items there are lower ranks.
    let shown = bench.ok(&["eval", "--run=run", "--task=next", "--protocol=full"]);
    assert!(shown.contains("full ranking"), "{shown}");
}

#[test]
fn what_is_refused() {
    let bench = bench();
    bench.ok(&pcl(&["--data=data", "--task=two.toml", "--out=run"]));
    let settings = fs::read_to_string(bench.path("run/config.toml")).unwrap();
    let next = "[[task]]\nname = \"next\"\nlabel = \"item\"\n";
    for (text, expected) in [
        ("[[task]]\nname = \"a\"\nlable = \"item\"\n", "tasks.toml:3: found the key \"lable\""),
        ("[[task]]\nname = \"a\"\n", "tasks.toml:2: missing field `label`"),
        ("other = 3\n", "tasks.toml:1: found the key \"other\"; expected only [[task]]"),
        ("", "tasks.toml: found no [[task]]"),
        ("[[task]]\nname = 3\nlabel = \"item\"\n", "tasks.toml:2: name: found 3"),
        (
            &format!("{next}[[task]]\nname = \"a\"\nlabel = \"colr\"\n"),
            "tasks.toml:6: task a: label: found \"colr\"; expected one of item, category, colour; did you mean colour?",
        ),
        (
            &format!("{next}[[task]]\nname = \"a\"\nlabel = \"item\"\nwhere = \"ratng >= 4\"\n"),
            "tasks.toml:7: where: found the column \"ratng\" in \"ratng >= 4\"; expected rating; did you mean rating?",
        ),
        (
            &format!("{next}[[task]]\nname = \"a\"\nlabel = \"item\"\nwhere = \"buy\"\n"),
            "tasks.toml:7: task a: where: found \"buy\"; expected a comparison",
        ),
        (&format!("{next}{next}"), "tasks.toml:5: task next: name: found two tasks that are called so"),
        (
            &format!("{next}[[task]]\nname = \"a\"\nlabel = \"item\"\nwhere = \"rating > 5\"\n"),
            "task a: no event or user to learn from before the cut",
        ),
        (
            &format!("{next}[[task]]\nname = \"a\"\nlabel = \"colour\"\nloss = \"bce\"\n"),
            "tasks.toml:7: task a: loss: found bce; expected softmax",
        ),
        (&format!("{next}[[task]]\nname = \"a\"\nlabel = \"item\"\nmetric = \"hits\"\n"), "task a: metric: "),
        (
            &format!("{next}[[task]]\nname = \"a\"\nlabel = \"item\"\nprotocol = \"batch:1\"\n"),
            "tasks.toml:7: task a: protocol: found \"batch:1\"",
        ),
        (
            "[[task]]\nname = \"a\"\nlabel = \"colour\"\n",
            "tasks.toml:3: task a: label: found \"colour\" in the first task; expected item",
        ),
    ] {
        fs::write(bench.path("tasks.toml"), text).unwrap();
        let error = bench.refuses(&pcl(&["--data=data", "--task=tasks.toml", "--out=new"]));
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!bench.path("new").exists());
    }
    let two = fs::read_to_string(bench.path("two.toml")).unwrap();
    fs::write(bench.path("changed.toml"), two.replace(">= 4", ">= 5")).unwrap();
    ratings(&bench, "others", |_, item| (item + 1) % ITEMS, |user| user % 3);
    for (args, expected) in [
        (&["--continue=run", "--task=two.toml"][..], "--continue run: found no task that the run does not have"),
        (&["--continue=run", "--task=changed.toml"], "changed.toml:5: task liked: it is not what was trained"),
        (&["--continue=run", "--task=more.toml", "--data=others"], "trained on another data set"),
        (&["--continue=run", "--task=more.toml", "--set=model.dim=16"], "model.dim is 8 in the run in run, not 16"),
        (&["--continue=none", "--task=more.toml"], "none: no run is here"),
        (
            &["--data=data", "--task=four.toml", "--set=model.prompted=7", "--out=new"],
            "model.prompted: found 7; expected at most data.max_len, 6",
        ),
        (&["--data=data", "--task=none.toml", "--out=new"], "none.toml: cannot read"),
    ] {
        let error = bench.refuses(&pcl(args));
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert_eq!(settings, fs::read_to_string(bench.path("run/config.toml")).unwrap(), "nothing was written");
    for key in ["data.split=ratio:80,10,10", "data.learn_users=9", "data.hold_out_items=0.1", "eval.targets=cold"] {
        let error = bench.refuses(&pcl(&["--data=data", "--task=two.toml", "--out=new", "--set", key]));
        let (name, _) = key.split_once('=').unwrap();
        assert!(error.contains(&format!("{name} is set, but tasks decide")), "{error}");
    }
    let error = bench.refuses(&["train", "sasrec", "--data=data", "--task=two.toml"]);
    assert!(error.contains("--task: sasrec is not trained by tasks"), "{error}");
    // A class that only users have who are asked about.
    ratings(&bench, "rare", as_it_is, |user| if user == 0 { 9 } else { user % 3 });
    let seeds = (1..=20).map(|seed| format!("--set=model.split_seed={seed}"));
    let refused = |seed: &String| {
        let args = pcl(&["--data=rare", "--task=four.toml", "--set=train.epochs=1", "--out=rare-run", seed]);
        let output = bench.run(&args);
        let _ = fs::remove_dir_all(bench.path("rare-run"));
        let error = String::from_utf8(output.stderr).unwrap();
        output.status.code() == Some(2)
            && error.contains("task colour: label: 1 of those that are asked for are of classes that nobody")
    };
    assert!(seeds.take(20).any(|seed| refused(&seed)));
}

#[test]
fn several_tasks_are_trained_at_once() {
    let bench = bench();
    let mtl = |more: &[&'static str]| small("mtl", &[&["--data=data", "--task=four.toml"], more].concat());
    let shown = bench.ok(&mtl(&["--out=run", "--preset=mmoe+"]));
    assert!(shown.contains("joint    valid mean of tasks"), "{shown}");
    let all = names(&bench, "run/joint.safetensors");
    for name in ["experts.weight", "gate.next", "gate.colour", "adapter.genre.weight", "category_embedding.genre"] {
        assert!(all.iter().any(|own| own == name), "{name} is not among {all:?}");
    }
    // Each task is served by what all have learned.
    for task in ["next", "liked", "genre", "colour"] {
        assert!(names(&bench, &format!("run/{task}.safetensors")).is_empty(), "{task} has parameters of its own");
        let tested = bench.json(&format!("run/{task}.json"))["test"].clone();
        let rows = ranks(&bench, "run", task);
        let ranks = rows.lines().skip(1).map(|row| row.split(',').nth(5).unwrap().parse::<f64>().unwrap());
        let mean = ranks.clone().map(|rank| 1.0 / rank).sum::<f64>() / ranks.count() as f64;
        assert!((mean - tested["mrr"].as_f64().unwrap()).abs() < 1e-9, "{task}: {mean} and {tested}");
    }
    // They are those of one epoch, of which each says so.
    let best = bench.json("run/next.json")["best_epoch"].as_u64().unwrap();
    assert!(best > 0 && bench.json("run/colour.json")["best_epoch"] == best);
    let text = bench.ok(&["verify", "run"]);
    assert!(text.contains("phase    joint\n") && text.contains("verdict  equal to the bit\n"), "{text}");
    assert!(text.contains("colour is not verified: nothing is trained in it\n"), "{text}");
    // Of classes the accuracy is shown.
    let text = bench.ok(&["eval", "--run", "run", "--task", "colour", "--matrix=full"]);
    assert!(text.contains("recall@1"), "{text}");
    // The weights of their gradients are those of a mean.
    let lines = fs::read_to_string(bench.path("run/joint.jsonl")).unwrap();
    for line in lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        let weights =
            ["next", "liked", "genre", "colour"].map(|task| line["reported"][format!("weight of {task}")].as_f64());
        let weights = weights.map(|weight| weight.unwrap());
        assert!(weights.iter().all(|weight| *weight >= 0.0), "{weights:?}");
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-4, "{weights:?}");
    }

    // A stop in between changes nothing, wherever each task's batches were.
    bench.ok(&mtl(&["--out=stopped", "--preset=mmoe+", "--set=train.max_steps=5"]));
    bench.ok(&["train", "mtl", "--resume", "--out=stopped", "--set=train.max_steps=1000000"]);
    assert_eq!(tensors(&bench, "run/joint.safetensors"), tensors(&bench, "stopped/joint.safetensors"));
    // Weighing changes what is learned.
    bench.ok(&mtl(&["--out=equal", "--preset=mmoe"]));
    assert_ne!(tensors(&bench, "run/joint.safetensors"), tensors(&bench, "equal/joint.safetensors"));

    let error = bench.refuses(&mtl(&["--out=no", "--set=train.accumulate=2"]));
    assert!(error.contains("train.accumulate: found 2; expected 1"), "{error}");
    let error = bench.refuses(&mtl(&["--out=no", "--set=train.lazy=true"]));
    assert!(error.contains("several tasks"), "{error}");
    let error = bench.refuses(&small("mtl", &["--continue=run", "--task=more.toml"]));
    assert!(error.contains("trained on all tasks at once"), "{error}");
    assert!(!bench.path("no").exists());
}

#[test]
fn teracon_learns_task_after_task_and_keeps_all_in_one_network() {
    let bench = bench();
    let teracon = |more: &[&'static str]| small("teracon", &[&["--data=data"], more].concat());
    let shown = bench.ok(&teracon(&["--task=four.toml", "--out=run"]));
    assert!(shown.contains("kept     next: recall@10") && shown.contains("  retention "), "{shown}");
    // The last task's file has all that is trained, and of the former network nothing.
    let all = names(&bench, "run/colour.safetensors");
    for name in [
        "item_embedding",
        "masks.0.attention.embedding.next",
        "masks.0.feed_forward.weight.liked",
        "adapter.genre.bias",
    ] {
        assert!(all.iter().any(|own| own == name), "{name} is not among {all:?}");
    }
    assert!(all.iter().all(|name| !name.starts_with("former.")), "{all:?}");
    // A kill in a later task changes nothing.
    let slow = ["--task=four.toml", "--set=phase.colour.epochs=40", "--set=train.checkpoint_seconds=0"];
    bench.ok(&teracon(&[&slow[..], &["--out=whole"]].concat()));
    let mut child =
        bench.command(&teracon(&[&slow[..], &["--out=killed"]].concat())).stdout(Stdio::null()).spawn().unwrap();
    let (begun, checkpoint) = (Instant::now(), bench.path("killed/checkpoint/colour.safetensors"));
    while !checkpoint.exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    bench.ok(&["train", "teracon", "--resume", "--out=killed"]);
    for task in ["next", "liked", "genre", "colour"] {
        let file = |run: &str| format!("{run}/{task}.safetensors");
        assert!(tensors(&bench, &file("whole")) == tensors(&bench, &file("killed")), "{task}");
    }
    // Later tasks by themselves give the same.
    bench.ok(&teracon(&["--task=two.toml", "--out=grown"]));
    bench.ok(&small("teracon", &["--continue=grown", "--task=more.toml"]));
    assert!(kept(&bench, "grown").iter().map(|(task, ..)| task.as_str()).eq(["next", "liked", "genre"]));
    let error = bench.refuses(&teracon(&["--task=two.toml", "--out=no", "--set=model.retention=0"]));
    assert!(error.contains("model.retention: found 0"), "{error}");
}
