//! Items that nobody has chosen yet: held out, left out of the loss, and ranked by what is known of them.

mod program;

use program::Bench;
use serde_json::Value;

/// A small world with cold items, a window, and a short training.
const SMALL: [&str; 12] = [
    "--device=cpu",
    "--set=data.max_len=8",
    "--set=world.domain=E",
    "--set=world.target_users=60",
    "--set=world.target_items=90",
    "--set=world.clusters=12",
    "--set=world.length_max=40",
    "--set=world.length_median=20",
    "--set=world.cold=0.3",
    "--set=train.batch=64",
    "--set=train.epochs=2",
    "--set=model.dim=12",
];

fn train<'a>(model: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = &SMALL[..if model == "nearest" { 9 } else { 12 }];
    let own: &[&str] = match model {
        "ant" => &["--set=model.adapt=gb", "--set=model.layers=1", "--set=model.inner=16", "--set=model.experts=2"],
        _ => &[],
    };
    [&["train", model, "--out", out], small, own, more].concat()
}

const WARM: &str = "--set=loss.cold_negatives=false";
/// Items that no interaction has.
const MORE: &str = "--set=data.catalogue=features";
const TEXT: &str = "--set=model.features=[\"text\"]";
const HELD: &str = "--set=data.hold_out_items=0.2";

fn losses(bench: &Bench, run: &str) -> Vec<f64> {
    let loss = |line: &Value| line["loss"].as_f64();
    bench.lines(run).iter().filter_map(loss).collect()
}

#[test]
fn cold_items_are_compared_with_the_nearest_text() {
    let bench = Bench::new();
    for (model, out, more) in
        [("ant", "ant", &[WARM][..]), ("nearest", "last", &[]), ("nearest", "mean", &["--set=model.to=mean"])]
    {
        bench.ok(&train(model, out, more));
    }
    let (cold, warm) = {
        let metrics = bench.json("ant/metrics.json");
        let of = |group: &str| metrics["items"][group]["targets"].as_u64().unwrap();
        (of("cold"), of("warm"))
    };
    assert!(cold > 0 && cold + warm == 60, "{cold} {warm}");
    for (group, targets) in [("cold-items", cold), ("warm-items", warm)] {
        let json = format!("--json={group}.json");
        bench.ok(&["compare", "ant", "last", "mean", "--targets", group, "--metrics=recall@10", &json]);
        let compared = bench.json(&format!("{group}.json"));
        let pairs = compared["differences"][1]["metrics"]["recall@10"]["pairs"].as_u64();
        assert_eq!((pairs, &compared["runs"][0]["ranked"]), (Some(targets), &group.into()), "{compared}");
    }
    bench.ok(&["recommend", "--run=mean", "--output=recs.csv"]);
}

/// Items that nobody chose change the loss of the others, unless they are left out of it.
#[test]
fn the_loss_is_the_same_with_cold_items_and_without() {
    let bench = Bench::new();
    for kind in ["softmax", "gbce"] {
        let set = format!("--set=loss.kind={kind}");
        let of = |name: &str, more: &[&str]| {
            let out = format!("{kind}-{name}");
            bench.ok(&train("ant", &out, &[&[set.as_str()], more].concat()));
            losses(&bench, &out)
        };
        let [few, all, usual] = [of("few", &[WARM]), of("all", &[WARM, MORE]), of("usual", &[MORE])];
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3 * a);
        assert!(few.len() > 1 && near(&few, &all) && !near(&all, &usual), "{few:?} {all:?} {usual:?}");
    }
}

#[test]
fn held_out_items_are_shown_apart() {
    let bench = Bench::new();
    let shown = bench.ok(&train("ant", "held", &[WARM, HELD]));
    assert!(shown.contains("held out (seed 1): "), "{shown}");
    let items = &bench.json("held/metrics.json")["items"];
    let of = |group: &str| items[group]["targets"].as_u64().unwrap();
    assert!(of("held_out") > 0 && of("cold") >= of("held_out") && of("warm") > 0, "{items}");
    bench.ok(&train("nearest", "nearest", &[HELD]));
    bench.ok(&["compare", "held", "nearest", "--targets=cold-items"]);
    bench.ok(&train("nearest", "other", &[HELD, "--set=data.hold_out_seed=2"]));
    let error = bench.refuses(&["compare", "held", "other"]);
    assert!(error.contains("cannot be compared"), "{error}");
}

#[test]
fn what_is_refused() {
    let bench = Bench::new();
    for (args, expected) in [
        (train("sasrec", "no", &[WARM]), "loss.cold_negatives: found false; expected true, since items of sasrec"),
        (train("fdsa", "no", &[WARM, TEXT]), "loss.cold_negatives: found false; expected true, since items of fdsa"),
        (train("fpmc", "no", &[WARM, TEXT]), "loss.cold_negatives: found false; expected true, since items of fpmc"),
        (
            train("ant", "no", &[HELD, "--set=data.split=ratio:80,10,10"]),
            "data.hold_out_items is set, but data.split is ratio:80,10,10; expected leave-one-out",
        ),
        (
            train("ant", "no", &["--set=data.hold_out_items=1e-4"]),
            "data.hold_out_items: found 0.0001; expected a share",
        ),
        (train("ant", "no", &["--set=data.hold_out_items=1"]), "data.hold_out_items: found 1; expected"),
        (vec!["train", "nearest", "--data=data.csv", "--out=no"], "the items have no text"),
    ] {
        let error = bench.refuses(&args);
        assert!(error.contains(expected), "{args:?}: {error}");
        assert!(!bench.path("no/model.safetensors").exists());
    }
    // What was pre-trained on had all of their events.
    let small = ["--set=auxiliary_users=60", "--set=clusters=12", "--set=length_max=40", "--set=length_median=20"];
    bench.ok(&[&["data", "synth", "--out=world", "--domain=A"], &small[..]].concat());
    let data = "--data=world/A/clicks.inter";
    let args = ["train", "ant", "--out=no", data, HELD, "--set=data.auxiliary=[\"world/A/clicks.inter\"]"];
    let error = bench.refuses(&args);
    assert!(
        error.contains("data.hold_out_items is set, but the backbone was pre-trained on these data too"),
        "{error}"
    );
}
