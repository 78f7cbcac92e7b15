//! What a training reports of an epoch: means over its samples, however these fall into batches.

mod program;

use program::Bench;
use serde_json::Value;

/// What the only epoch of a training of MINER reports, whose learning rate is too small to change a parameter.
fn reported(bench: &Bench, run: &str, more: &[&'static str]) -> Value {
    let still = ["--set=train.epochs=1", "--set=train.lr=1e-37", "--set=log.every=1", "--set=loss.kind=softmax"];
    bench.train("miner", run, &[&still[..], more].concat());
    bench.lines(run)[0]["reported"].clone()
}

#[test]
fn means_are_over_samples_whatever_the_batches() {
    let bench = Bench::new();
    let whole = reported(&bench, "whole", &["--set=train.batch=1000", "--set=train.clip=1e6"]);
    assert!(whole["cosine"].is_f64() && whole["gradient_norm"].as_f64() > Some(0.0), "{whole}");
    let near = |name: &str, other: &Value| {
        let (a, b) = (whole[name].as_f64().unwrap(), other[name].as_f64().unwrap());
        assert!((a - b).abs() < 1e-4 * a.abs(), "{name}: {a} {b}");
    };
    // 60 users have 7 samples each: the last of 14 batches has 4.
    let parts = reported(&bench, "parts", &["--set=train.batch=32"]);
    near("cosine", &parts);
    assert_eq!(parts.get("gradient_norm"), None, "nothing takes it");
    // One update by all batches, so that the gradient is the same as well.
    let added = ["--set=train.batch=32", "--set=train.accumulate=14", "--set=train.clip=1e6"];
    let added = reported(&bench, "added", &added);
    near("cosine", &added);
    near("gradient_norm", &added);
}
