//! Pre-training on several data sets, and adaptation to another one.

mod program;

use program::Bench;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};
use wgrec::data::synth::{DomainName, World, WorldConfig};

/// A small ANT and small data; `more` after that.
fn ant<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = [
        "--device=cpu",
        "--set=data.max_len=8",
        "--set=model.dim=12",
        "--set=model.layers=1",
        "--set=model.inner=16",
        "--set=model.experts=2",
        "--set=model.dropout=0.1",
        "--set=train.batch=64",
        "--set=train.epochs=2",
        "--set=log.every=3",
    ];
    [&["train", "ant", "--out", out], &small[..], more].concat()
}

/// A small world.
const WORLD: [&str; 8] = [
    "--set=world.auxiliary_users=30",
    "--set=world.target_users=40",
    "--set=world.auxiliary_items=90",
    "--set=world.target_items=90",
    "--set=world.clusters=12",
    "--set=world.length_max=40",
    "--set=world.length_median=20",
    "--set=world.cold=0.3",
];

fn tensors(bench: &Bench, file: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(bench.path(file)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = file.iter().map(|(name, tensor)| (name.to_string(), tensor.data().to_vec())).collect();
    all.sort();
    all
}

fn tensor(bench: &Bench, file: &str, name: &str) -> Vec<u8> {
    tensors(bench, file).into_iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("{file}: no {name}")).1
}

/// The names of tensors that two files have equal.
fn equal(bench: &Bench, a: &str, b: &str) -> Vec<String> {
    let b = tensors(bench, b);
    tensors(bench, a).into_iter().filter(|tensor| b.contains(tensor)).map(|(name, _)| name).collect()
}

#[test]
fn without_data_on_the_embedded_world() {
    let bench = Bench::new();
    let shown = bench.ok(&ant("rel", &WORLD));
    assert!(shown.contains("A + B + C + D: 120 users") && shown.contains("domain E: 40 users"), "{shown}");
    // Each data set is ranked among its own items, and the mean of the four decides.
    let valid = &bench.json("rel/pretrain.json")["valid"];
    let of = |set: &str| valid["sets"][set]["ndcg@10"].as_f64().unwrap();
    let mean = ["A", "B", "C", "D"].map(of).iter().sum::<f64>() / 4.0;
    assert!((valid["ndcg@10"].as_f64().unwrap() - mean).abs() < 1e-12, "{valid}");
    assert!(valid["sets"]["A"]["mrr"].as_f64().unwrap() > 1.0 / 90.0, "ranked among its 90 items alone: {valid}");
    let metrics = bench.json("rel/metrics.json");
    let [cold, warm] = ["cold", "warm"].map(|group| metrics["items"][group]["targets"].as_u64().unwrap());
    assert!(cold > 0 && cold + warm == 40, "{metrics}");
    bench.ok(&["eval", "--run=rel"]);
    bench.ok(&["recommend", "--run=rel", "--output=recs.csv"]);

    // What is frozen keeps its bits; nothing with a row for each item is taken.
    let kept = equal(&bench, "rel/model.safetensors", "rel/pretrain.safetensors");
    let learned = |name: &String| name.starts_with("tower.") || name == "position_embedding";
    assert!(kept.iter().any(|name| name == "encoder.0.attention.query.weight"), "{kept:?}");
    assert!(!kept.iter().any(learned), "{kept:?}");
    let encoder = tensors(&bench, "rel/model.safetensors");
    // Texts of the domains have offsets; images have none.
    let told = bench.ok(&["analyse", "transfer", "rel", "--json=told.json"]);
    assert!(told.contains("embedded world, seed 1, domain E"), "{told}");
    let told = bench.json("told.json");
    let pairs = told["pairs"].as_array().unwrap();
    let raw = |kind: &str| -> f64 {
        let of_kind =
            pairs.iter().filter(|pair| pair["kind"] == kind).map(|pair| pair["raw"]["value"].as_f64().unwrap());
        of_kind.sum::<f64>() / 10.0
    };
    assert!(pairs.len() == 30 && raw("text") > 0.9 && raw("image") < 0.75, "{told}");
    let error = bench.refuses(&["analyse", "transfer", "none"]);
    assert!(error.contains("no run is here"), "{error}");

    let of_encoder = |(name, _): &&(String, Vec<u8>)| name.starts_with("encoder.");
    assert_eq!(kept.len(), encoder.iter().filter(of_encoder).count());

    let from = |out, adapt| ant(out, &[&WORLD[..], &["--from=rel", adapt]].concat());
    bench.ok(&from("ft", "--set=model.adapt=ft"));
    let kept = equal(&bench, "ft/model.safetensors", "rel/pretrain.safetensors");
    assert!(kept.contains(&"position_embedding".to_string()) && !kept.iter().any(|name| name.starts_with("tower.")));
    let error = bench.refuses(&["analyse", "transfer", "ft"]);
    assert!(error.contains("the pre-training that it takes is that of"), "{error}");
    // In a folder of its own it comes to the same as in one.
    bench.ok(&from("apart", "--set=model.adapt=rel"));
    assert_eq!(tensors(&bench, "apart/model.safetensors"), encoder);
    let released = [&WORLD[..], &["--from=rel", "--set=model.adapt=ft", "--set=model.released=true"]].concat();
    bench.ok(&ant("released", &released));
    let kept = equal(&bench, "released/model.safetensors", "rel/pretrain.safetensors");
    let trained = ["position_embedding", "encoder.embedding_norm.gain"];
    assert!(!kept.iter().any(|name| trained.contains(&name.as_str())), "{kept:?}");
    // With vectors of items' own, which are never taken.
    bench.ok(&ant("own", &[&WORLD[..], &["--from=rel", "--set=model.own_embedding=true"]].concat()));
    assert!(tensors(&bench, "own/model.safetensors").iter().any(|(name, _)| name == "item_embedding"));

    // Without pre-training no other run is opened, and what is re-initialised starts alike.
    let error = bench.refuses(&from("gb", "--set=model.adapt=gb"));
    assert!(error.contains("from is set, but ant is trained in one phase"), "{error}");
    let still = ["--set=train.lr=1e-30", "--set=train.epochs=1"];
    bench.ok(&ant("gb", &[&WORLD[..], &still, &["--set=model.adapt=gb"]].concat()));
    bench.ok(&ant("start", &[&WORLD[..], &still, &["--from=rel"]].concat()));
    for name in ["tower.text.weight", "position_embedding"] {
        assert_eq!(tensor(&bench, "gb/model.safetensors", name), tensor(&bench, "start/model.safetensors", name));
    }
}

#[test]
fn a_kill_in_either_phase_changes_nothing() {
    let bench = Bench::new();
    bench.ok(&ant("whole", &WORLD));
    let args = ant("killed", &[&WORLD[..], &["--resume", "--set=train.checkpoint_seconds=0"]].concat());
    for sign in
        ["killed/checkpoint/pretrain.safetensors", "killed/pretrain.jsonl", "killed/checkpoint/last.safetensors"]
    {
        let mut child = bench.command(&args).stdout(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while !bench.path(sign).exists() && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    bench.ok(&args);
    for file in ["pretrain.safetensors", "model.safetensors"] {
        assert_eq!(tensors(&bench, &format!("killed/{file}")), tensors(&bench, &format!("whole/{file}")), "{file}");
    }
}

/// Two domains and the target as files, with all that is known of their items.
fn files() -> Bench {
    let bench = Bench::new();
    let world = WORLD.map(|setting| setting.replace("--set=world.", "--set="));
    let world: Vec<&str> = world.iter().map(String::as_str).collect();
    let domains = ["--domain=A", "--domain=B", "--domain=E"];
    bench.ok(&[&["data", "synth", "--out=world"], &domains[..], &world].concat());
    // Two files of interactions in a folder would have to be told apart.
    ["A", "B", "E"]
        .iter()
        .for_each(|domain| fs::remove_file(bench.path("world").join(domain).join("events.inter")).unwrap());
    bench
}

const AUXILIARY: &str = "--set=data.auxiliary=[\"world/A\", {path = \"world/B\", name = \"second\"}]";

#[test]
fn data_sets_of_ones_own() {
    let bench = files();
    bench.ok(&ant("pre", &[AUXILIARY, "--set=phases=[\"pretrain\"]"]));
    let about = bench.json("pre/pretrain.json");
    let sets: Vec<&String> = about["valid"]["sets"].as_object().unwrap().keys().collect();
    assert_eq!(sets, ["A", "second"]);
    let error = bench.refuses(&["recommend", "--run=pre", "--output=recs.csv"]);
    assert!(error.contains("serves none of them; adapt it"), "{error}");
    bench.ok(&ant("adapted", &["--data=world/E", "--from=pre"]));
    bench.ok(&ant("whole", &["--data=world/E", AUXILIARY]));
    assert_eq!(tensors(&bench, "adapted/model.safetensors"), tensors(&bench, "whole/model.safetensors"));
}

/// The same arguments for UniSRec.
fn unisrec<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ant(out, more).into_iter().map(|arg| if arg == "ant" { "unisrec" } else { arg }).collect()
}

#[test]
fn unisrec_compares_sequences_with_their_changed_forms() {
    let bench = files();
    let e = "--data=world/E/clicks.inter";
    let auxiliary = ["A", "B"].map(|name| format!("{{path = \"world/{name}/clicks.inter\", name = \"{name}\"}}"));
    let auxiliary = format!("--set=data.auxiliary=[{}]", auxiliary.join(", "));
    let auxiliary = auxiliary.as_str();
    bench.ok(&unisrec("rel", &[e, auxiliary]));
    let pretrain = fs::read_to_string(bench.path("rel/pretrain.jsonl")).unwrap();
    assert!(pretrain.contains("\"contrast\""), "{pretrain}");
    let kept = equal(&bench, "rel/model.safetensors", "rel/pretrain.safetensors");
    assert!(kept.iter().any(|name| name == "encoder.0.attention.query.weight"), "{kept:?}");
    assert!(!kept.iter().any(|name| name.starts_with("tower.")), "{kept:?}");
    bench.ok(&unisrec("own", &[e, "--from=rel", "--set=model.own_embedding=true"]));

    // Other embeddings of the texts are read where they are asked for, and are needed in pre-training alone.
    let texts = ["--set=model.changed_texts=0.5"];
    let error = bench.refuses(&unisrec("texts", &[&[e, auxiliary], &texts[..]].concat()));
    assert!(
        error.contains("the items have no text_dropped: expected") && error.contains("data.text_dropped"),
        "{error}"
    );
    for set in ["A", "B"] {
        let bytes = fs::read(bench.path(&format!("world/{set}/features.safetensors"))).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let of_text = file.tensors().into_iter().filter(|(name, _)| name.starts_with("text"));
        let about = safetensors::SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone();
        let dropped = safetensors::serialize(of_text, about).unwrap();
        fs::write(bench.path(&format!("world/{set}/text_dropped.safetensors")), dropped).unwrap();
    }
    bench.ok(&unisrec("texts", &[&[e, auxiliary], &texts[..]].concat()));
    assert_ne!(tensors(&bench, "texts/pretrain.safetensors"), tensors(&bench, "rel/pretrain.safetensors"));
    let error = bench.refuses(&unisrec("all", &[e, auxiliary, "--set=model.positions=all"]));
    assert!(error.contains("model.positions: found all; expected last"), "{error}");
}

#[test]
fn what_is_refused() {
    let bench = files();
    bench.ok(&ant("pre", &[AUXILIARY, "--set=phases=[\"pretrain\"]"]));
    let of_text = "--set=model.features=[\"text\"]";
    bench.ok(&ant("text", &[AUXILIARY, "--set=phases=[\"pretrain\"]", of_text]));
    let e = "--data=world/E";
    for (args, expected) in [
        (&[e][..], "data.auxiliary is not set; expected data sets to pre-train ant on"),
        (&[e, "--set=data.auxiliary=[\"world/A\", \"world/A\"]"], "found two data sets that are called \"A\""),
        (
            &[e, "--set=data.auxiliary=[{path = \"world/A\", pth = 3}]"],
            "data.auxiliary: found the key \"pth\"; a data set can have name, path, format",
        ),
        (&[e, "--set=data.auxiliary=[{name = \"A\"}]"], "data.auxiliary: found a table without a path"),
        (&[e, "--set=data.auxiliary=[\"world/none\"]"], "world/none"),
        (&[e, "--set=data.auxiliary=[5]"], "found 5 in the list; expected a path, or a table with one"),
        (&[e, "--set=data.auxiliary=[\"\"]"], "found \"\" in the list; expected a path"),
        (
            &[e, "--set=data.auxiliary=[{path = \"world/A\", name = 5}]"],
            "data.auxiliary: name: found 5; expected a text",
        ),
        (&[e, "--set=data.auxiliary=[{path = \"world/A\", split = \"ratio:60,20,20\"}]"], "found the key \"split\""),
        (&[e, "--set=data.auxiliary=[{path = \"world/A\", price_clip = 2}]"], "data.auxiliary: price_clip: found 2"),
        (&[e, AUXILIARY, "--set=data.learn_users=1000"], "data.learn_users: found 1000; the data have 40 users"),
        // What was pre-trained on is not tested on.
        (&["--data=world/B", "--from=pre", "--set=data.split=ratio:40,20,40"], "data.split or data.cut is another"),
        (&["--data=world/B", "--from=pre", "--set=data.learn_users=9"], "data.learn_users is set, but the backbone"),
        (&["--data=world/B", AUXILIARY, "--set=data.learn_users=9"], "data.learn_users is set, but the backbone"),
        (&[e, AUXILIARY, "--set=model.adapt=gb"], "data.auxiliary is set, but ant is trained on the data themselves"),
        (&[AUXILIARY], "data.auxiliary is set, but no data to adapt to; name them by --data"),
        (&[e, AUXILIARY, "--set=eval.protocol=sampled:9"], "eval.protocol: found sampled:9; expected full"),
        (&[e, "--from=pre", "--set=model.dim=16"], "model.dim is 12 in"),
        (&[e, "--from=pre", "--set=model.layers=2"], "model.layers is 1 in"),
        (
            &[e, "--from=text", "--set=model.adapt=ft", "--set=model.features=[\"text\", \"image\"]"],
            "model.features is [\"text\"] in",
        ),
        (&[e, "--from=world"], "no run is here"),
        (&[e, AUXILIARY, "--set=model.aligned=all", "--set=model.tower=batch"], "model.aligned: found all"),
    ] {
        let error = bench.refuses(&ant("refused", args));
        assert!(error.contains(expected), "{args:?}: {error}");
        assert!(!bench.path("refused/model.safetensors").exists());
    }
    let error = bench.refuses(&["train", "sasrec", "--out=refused", e, AUXILIARY]);
    assert!(error.contains("data.auxiliary is set, but sasrec is trained on the data themselves alone"), "{error}");
    // Embeddings of another width.
    let wide: Vec<&str> = ["data", "synth", "--out=wide", "--domain=B", "--set=text_width=32"].to_vec();
    bench.ok(&wide);
    fs::remove_file(bench.path("wide/B/events.inter")).unwrap();
    let error = bench.refuses(&ant("refused", &[e, "--set=data.auxiliary=[\"world/A\", \"wide/B\"]"]));
    assert!(error.contains("embeddings of text are 64 wide in A and 32 in B"), "{error}");
}

/// Clicks of a domain, as users and items.
fn clicks(config: &WorldConfig, domain: DomainName) -> (Vec<u32>, Vec<u32>) {
    let log = World::with_domains(config, 3, &[domain]).unwrap().domains[0].clicks();
    (log.user, log.item)
}

#[test]
fn taste_lets_conflict_be_seen_in_clicks() {
    let of = |taste: f64, kappa: f64| WorldConfig { taste, kappa, ..WorldConfig::default() };
    for domain in [DomainName::A, DomainName::D] {
        assert_eq!(clicks(&of(1.0, 0.0), domain), clicks(&of(1.0, 1.0), domain));
    }
    assert_eq!(clicks(&of(0.0, 0.0), DomainName::E), clicks(&of(0.0, 1.0), DomainName::E));
    assert_ne!(clicks(&of(1.0, 0.0), DomainName::E), clicks(&of(1.0, 1.0), DomainName::E));
    // Who has a taste clicks what it is for, and the oracle knows.
    let mean = |taste: f64| {
        let world = World::with_domains(&of(taste, 0.5), 3, &[DomainName::A]).unwrap();
        let domain = &world.domains[0];
        let log = domain.clicks();
        let affinity = log.user.iter().zip(&log.item).map(|(&user, &item)| domain.affinity(user, item));
        affinity.sum::<f64>() / log.user.len() as f64
    };
    assert!(mean(3.0) > mean(0.0) + 0.05, "{} {}", mean(3.0), mean(0.0));
    let world = World::with_domains(&of(1.0, 0.5), 3, &[DomainName::A]).unwrap();
    let total: f64 = world.domains[0].oracle_scores(1, 4).unwrap().iter().map(|x| (*x as f64).exp()).sum();
    assert!((total - 1.0).abs() < 1e-5, "{total}");
}
