//! `wgrec planted`: interests of runs, next to those that the embedded world planted.

mod program;

use program::Bench;

#[test]
fn interests_are_compared_with_those_that_were_planted() {
    let bench = Bench::new();
    let world = ["--set=world.users=150", "--set=world.items=400", "--set=data.max_len=20"];
    let short = ["--device=cpu", "--set=train.max_steps=2", "--set=eval.every=9", "--set=model.dim=16"];
    let train = |model: &str, out: &str, more: &[&str]| {
        bench.ok(&[&["train", model, &format!("--out={out}")][..], &world, &short, more].concat())
    };
    train("pomrec", "one", &["--set=model.interests=3"]);
    train("pomrec", "two", &["--set=model.interests=3", "--set=world_seed=2"]);
    let printed = bench.ok(&["planted", "one", "two", "--json=both.json"]);
    let both = bench.json("both.json");
    let values = |key: &str| -> Vec<f64> {
        both["agreement"][key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let (trained, shuffled, at_start) = (values("trained"), values("shuffled"), values("at_start"));
    let left_out = both["agreement"]["left_out"].as_u64().unwrap() as usize;
    assert!(trained.len() > 100 && trained.len() + left_out <= 300, "{} and {left_out}", trained.len());
    assert!(trained.len() == shuffled.len() && trained.len() == at_start.len());
    assert!(trained.iter().all(|value| *value <= 1.0 + 1e-9) && trained != at_start);
    // Chance is 0, by what the measure is.
    let mean = shuffled.iter().sum::<f64>() / shuffled.len() as f64;
    let variance = shuffled.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (shuffled.len() - 1) as f64;
    assert!(mean.abs() < 4.0 * (variance / shuffled.len() as f64).sqrt(), "{mean}");
    assert!(printed.starts_with(&format!("{} users; {left_out} with fewer than two planted interests", trained.len())));
    // One alone is half of both.
    bench.ok(&["planted", "one", "--json=one.json"]);
    let first = bench.json("one.json")["agreement"]["trained"].as_array().unwrap().len();
    assert!(first > 0 && first < trained.len());

    train("gru4rec", "single", &[]);
    let error = bench.refuses(&["planted", "single"]);
    assert!(error.contains("single: model.name: found gru4rec, which represents a user by one vector"), "{error}");
    let error = bench.refuses(&["planted", "one", "single"]);
    assert!(error.contains("single: found a run of gru4rec; expected runs of pomrec"), "{error}");
    let error = bench.refuses(&["planted", "one", "one"]);
    assert!(error.contains("one: world_seed: found 1, as in one, whose users would count twice"), "{error}");
    train("pomrec", "other", &["--set=model.interests=2", "--set=world_seed=3"]);
    let error = bench.refuses(&["planted", "one", "other"]);
    assert!(error.contains("other: model.interests: found 2; expected 3, as in one"), "{error}");
    bench.train("pomrec", "own", &["--set=train.max_steps=1"]);
    let error = bench.refuses(&["planted", "own"]);
    assert!(error.contains("expected a run on the clicks of the embedded world"), "{error}");
}
