//! `wgrec planted`: interests of runs, next to those that the embedded world planted.

mod program;

use program::Bench;
use std::collections::BTreeSet;
use wgrec::data::synth::{World, WorldConfig};

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

/// MIND gives a user with n items in the window log2 n interests.
#[test]
fn numbers_of_interests_are_compared_with_those_that_were_planted() {
    const WINDOW: usize = 50;
    let bench = Bench::new();
    let train = |model: &str, out: &str, more: &[&str]| {
        let world = ["--set=world.users=150", "--set=world.items=400", "--set=data.max_len=50"];
        let short = ["--device=cpu", "--set=train.max_steps=2", "--set=eval.every=9", "--set=model.dim=16"];
        bench.ok(&[&["train", model, &format!("--out={out}")][..], &world, &short, more].concat())
    };
    train("mind", "one", &["--set=model.interests=6"]);
    train("mind", "two", &["--set=model.interests=6", "--set=world_seed=2"]);
    let printed = bench.ok(&["planted", "one", "two", "--json=both.json"]);
    let both = bench.json("both.json");
    let list = |key: &str| -> Vec<usize> {
        both["numbers"][key].as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
    };
    // What the worlds know, counted here: events, and the interests and groups.
    let mut expected = vec![];
    for seed in [1, 2] {
        let config = WorldConfig { users: 150, items: 400, ..WorldConfig::default() };
        let domain = World::generate(&config, seed).unwrap().domains.remove(0);
        for user in 0..150 {
            let mut clicks: Vec<_> = domain.walk(user).collect();
            let alive = clicks.pop().unwrap().alive;
            let window = &clicks[clicks.len().saturating_sub(WINDOW)..];
            let planted: BTreeSet<usize> = window.iter().filter_map(|click| click.interest).collect();
            let groups: BTreeSet<usize> = window.iter().map(|click| domain.items[click.item].group).collect();
            expected.push([window.len().ilog2() as usize, planted.len(), alive, groups.len(), clicks.len()]);
        }
    }
    let lists = ["found", "planted", "alive", "groups", "events"].map(list);
    let mut found: Vec<[usize; 5]> = (0..300).map(|user| [0, 1, 2, 3, 4].map(|number| lists[number][user])).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert!(found == expected && lists.iter().all(|list| list.len() == 300));
    assert!(printed.starts_with("interests of 300 users: 3 for "), "{printed}");
    let correlation = &both["number"]["model"]["planted"];
    let [value, low, high] = ["value", "low", "high"].map(|key| correlation[key].as_f64().unwrap());
    assert!(low < value && value < high && high - low < 0.3, "{correlation}");
    assert!(printed.contains(&format!("{value:+.4} ({low:+.4} to {high:+.4})")), "{printed}");

    train("mind", "fixed", &["--set=model.interests=3", "--set=model.adaptive=false"]);
    let printed = bench.ok(&["planted", "fixed", "--json=fixed.json"]);
    let said = "interests of 150 users: 3 for 100.0%\nevery user has 3: no correlation is defined\n";
    assert!(printed.starts_with(said) && printed.contains("not defined") && !printed.contains("NaN"), "{printed}");
    let fixed = &bench.json("fixed.json")["number"];
    assert!(fixed["model"]["planted"].is_null() && fixed["groups"]["planted"]["value"].is_f64(), "{fixed}");
    assert_eq!(fixed["undefined"][0], "every user has 3: no correlation is defined");

    train("comirec", "all", &["--set=model.interests=3"]);
    assert!(!bench.ok(&["planted", "all", "--json=all.json"]).contains("rank correlation"));
    assert!(bench.json("all.json").get("number").is_none());
}
