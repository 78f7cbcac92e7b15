//! RDRSR as a program: its numbers of interests, what is not trained, its rankings, what is shown of it.

mod program;

use program::{Bench, small};
use safetensors::SafeTensors;
use std::collections::BTreeMap;

fn parameters(bench: &Bench, run: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = bench.model(run);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.to_string(), view.data().to_vec())).collect()
}

/// The shares of users with one interest, two, .. in an epoch's drawn or most probable numbers.
fn shares(line: &serde_json::Value, name: &str) -> Vec<f64> {
    (1..).map_while(|h| line["reported"][format!("{name}_{h}")].as_f64()).collect()
}

#[test]
fn users_have_the_number_that_a_setting_says() {
    let bench = Bench::new();
    for number in ["printed", "reinforced", "straight-through", "log2", "fixed:2"] {
        let setting = format!("--set=model.number={number}");
        bench.train("rdrsr", number, &[&setting, "--set=model.interests=3", "--set=model.entropy_weight=0.01"]);
        let lines = bench.lines(number);
        for line in &lines {
            let drawn = shares(line, "number");
            assert_eq!(drawn.len(), 3);
            assert!((drawn.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{number}: {drawn:?}");
            let discriminates = !["log2", "fixed:2"].contains(&number);
            assert_eq!(shares(line, "greedy_number").len(), if discriminates { 3 } else { 0 }, "{number}");
            assert_eq!(line["reported"]["number_entropy"].is_f64(), discriminates);
            assert!(line["reported"]["policy_entropy"].as_f64() > Some(0.0));
        }
        if number == "fixed:2" {
            assert_eq!(shares(&lines[0], "number"), [0.0, 1.0, 0.0]);
        }
        let shown = bench.ok(&["inspect", "--run", number, "--user=u3", "-k=3"]);
        assert!(shown.contains("u3"), "{shown}");
        let listed = bench.ok(&["recommend", "--run", number, "--output=recs.csv"]);
        assert!(listed.contains("60 users"), "{listed}");
    }
    // Histories of up to 6 items: one interest below 4, then two.
    let numbers = shares(&bench.lines("log2")[0], "number");
    assert!(numbers[0] > 0.0 && numbers[1] > 0.0 && numbers[2] == 0.0, "{numbers:?}");
}

#[test]
fn without_a_weight_the_policy_stays_as_it_starts() {
    let bench = Bench::new();
    let settings = ["--set=model.policy_weight=0", "--set=train.max_steps=1"];
    bench.train("rdrsr", "start", &settings);
    bench.train("rdrsr", "later", &[settings[0], "--set=train.max_steps=20"]);
    let [start, later] = ["start", "later"].map(|run| parameters(&bench, run));
    for (name, before) in &start {
        let frozen = name.starts_with("policy.") || name.starts_with("discriminator.");
        assert_eq!(&later[name] == before, frozen, "{name}");
    }
}

#[test]
fn a_running_baseline_is_kept_and_resumed_to_the_same_bits() {
    let bench = Bench::new();
    let steps = |steps: &'static str| ["--set=model.baseline=true", "--set=train.checkpoint_seconds=0", steps];
    bench.train("rdrsr", "whole", &steps("--set=train.max_steps=30"));
    bench.train("rdrsr", "later", &steps("--set=train.max_steps=17"));
    assert_ne!(parameters(&bench, "whole"), parameters(&bench, "later"));
    bench.train("rdrsr", "later", &[&steps("--set=train.max_steps=30")[..], &["--resume"]].concat());
    let [whole, later] = ["whole", "later"].map(|run| parameters(&bench, run));
    assert_eq!(whole, later);
    // The first batch leaves a hundredth of its mean.
    bench.train("rdrsr", "first", &[&steps("--set=train.max_steps=1")[..], &["--set=log.every=1"]].concat());
    let mean = f32::from_le_bytes(parameters(&bench, "first")["reward.mean"][..4].try_into().unwrap()) as f64;
    let reward = bench.lines("first")[0]["reported"]["reward"].as_f64().unwrap();
    assert!(reward != 0.0 && (mean - 0.01 * reward).abs() < 1e-6 * reward.abs(), "{mean} {reward}");
}

#[test]
fn rankings_of_one_run_differ_and_are_the_same_twice() {
    let bench = Bench::new();
    bench.train("rdrsr", "run", &["--set=model.number=fixed:2"]);
    let eval = |ranking: &str| {
        let setting = format!("--set=model.ranking={ranking}");
        bench.ok(&["eval", "--run=run", &setting])
    };
    let all = ["share", "product", "largest"].map(eval);
    assert_eq!(all[0], eval("share"));
    assert!(all[0] != all[1] && all[1] != all[2], "{all:?}");
}

/// The source of a recommendation is the interest that the policy chooses, also where its product is negative.
#[test]
fn a_recommendation_comes_from_the_interest_that_the_policy_chooses() {
    let bench = Bench::new();
    bench.train("rdrsr", "run", &["--set=model.number=fixed:2", "--set=model.ranking=product"]);
    let shown = bench.ok(&["inspect", "--run=run", "--user=u3", "-k=30"]);
    let best = shown.lines().skip_while(|line| !line.starts_with(" rank")).skip(1);
    let parts: Vec<[f64; 2]> = best
        .map(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            [cells[2].parse().unwrap(), cells[3].parse().unwrap()]
        })
        .collect();
    assert_eq!(parts.len(), 30, "{shown}");
    assert!(parts.iter().any(|[score, _]| *score < 0.0), "{shown}");
    assert!(parts.iter().all(|[score, part]| (score - part).abs() < 1e-3), "{shown}");
}

#[test]
fn a_reward_that_is_not_finite_is_named() {
    let bench = Bench::new();
    let broken = ["--set=model.orthogonality=1e38", "--set=model.reward_scale=1e6", "--set=log.every=1"];
    let output = bench.run(&small("rdrsr", "run", &broken));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("not finite") && error.contains("reward"), "{error}");
}

#[test]
fn wrong_settings_are_named() {
    let bench = Bench::new();
    for (setting, wanted) in [
        ("model.interests=0", "model.interests: found 0; expected a whole number of at least 1"),
        ("model.number=fixed:5", "model.number: found fixed:5; expected at most model.interests, 2"),
        ("model.number=fixed:0", "model.number: found \"fixed:0\"; expected printed, reinforced"),
        ("model.number=many", "model.number: found \"many\"; expected printed, reinforced"),
        ("model.temperature=0", "model.temperature: found 0; expected a number of at least 0.0001"),
        ("train.negatives=40,loss.kind=bpr", "train.negatives: found 40; expected fewer than the 40 items"),
        ("loss.kind=softmax", "loss.kind: found softmax; expected another"),
        ("model.cosine=true", "model.cosine: found true; expected false"),
    ] {
        let settings: Vec<String> = setting.split(',').map(|setting| format!("--set={setting}")).collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let error = bench.refuses(&small("rdrsr", "never", &settings));
        assert!(error.contains(wanted), "{error}");
        assert!(!bench.path("never").exists());
    }
}
