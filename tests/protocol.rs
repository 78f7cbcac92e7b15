//! What a metric was measured by: masks, candidates, groups, and which targets were left out, in sight and never mixed.

mod program;

use program::{Bench, interactions};
use serde_json::Value;
use std::fs;
use wgrec::eval::{Metric, TieRule};

/// Items of each user, oldest first.
fn histories(csv: &str) -> Vec<Vec<String>> {
    let mut users: Vec<(String, Vec<String>)> = vec![];
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        match users.last_mut().filter(|(user, _)| user == fields[0]) {
            Some((_, items)) => items.push(fields[1].to_string()),
            None => users.push((fields[0].to_string(), vec![fields[1].to_string()])),
        }
    }
    users.into_iter().map(|(_, items)| items).collect()
}

/// Ranks of the last items by how often each item comes in the training parts, the items before them masked or not.
fn popularity_ranks(histories: &[Vec<String>], masked: bool) -> Vec<f64> {
    let items: std::collections::BTreeSet<&String> = histories.iter().flatten().collect();
    let count = |item: &String| histories.iter().flat_map(|h| &h[..h.len() - 2]).filter(|i| *i == item).count();
    let rank = |history: &Vec<String>| {
        let (target, before) = history.split_last().unwrap();
        let others = || items.iter().filter(|item| **item != target && !(masked && before.contains(item)));
        let above = others().filter(|item| count(item) > count(target)).count();
        let level = others().filter(|item| count(item) == count(target)).count();
        TieRule::Average.rank(above as u32, level as u32)
    };
    histories.iter().map(rank).collect()
}

#[test]
fn a_full_ranking_is_shown_masked_and_unmasked() {
    let bench = Bench::new();
    let histories = histories(&interactions(60, 1));
    let by_hand = |masked: bool, metric: Metric| metric.mean(&popularity_ranks(&histories, masked));
    let [masked, unmasked] = [true, false].map(|masked| by_hand(masked, Metric::Ndcg(10)));
    assert!(masked > unmasked, "it makes a difference");
    let near =
        |value: &Value, want: f64| assert!((value.as_f64().unwrap() - want).abs() < 1e-12, "{value} is not {want}");
    for (run, setting, first, line) in [
        ("masked", "--set=eval.mask_history=true", masked, format!("(unmasked {unmasked:.4})")),
        ("plain", "--set=eval.mask_history=false", unmasked, format!("(masked {masked:.4})")),
    ] {
        let printed = bench.train("pop", run, &[setting]);
        assert!(printed.contains(&format!("ndcg@10 {first:.4}  {line}")), "no {line} in\n{printed}");
        let metrics = bench.json(&format!("{run}/metrics.json"));
        for metric in [Metric::Recall(10), Metric::Ndcg(10), Metric::Mrr] {
            let name = metric.to_string();
            near(&metrics["masked"]["test"][&name], by_hand(true, metric));
            near(&metrics["unmasked"]["test"][&name], by_hand(false, metric));
            near(&metrics["test"][&name], by_hand(run == "masked", metric));
        }
    }
    let evaluated = bench.ok(&["eval", "--run", "masked", "--metrics=ndcg@10"]);
    assert!(evaluated.contains("test     60 targets   masked   unmasked\n"), "{evaluated}");
    assert!(evaluated.contains(&format!("ndcg@10      {masked:.4}   {unmasked:.4}\n")), "{evaluated}");
    let evaluated = bench.ok(&["eval", "--run", "masked", "--metrics=ndcg@10", "--unmasked", "--per-user=users.csv"]);
    assert!(evaluated.contains(&format!("ndcg@10      {unmasked:.4}   {masked:.4}\n")), "{evaluated}");
    // Values of single users are those of the ranking that is asked for.
    let mut csv = csv::Reader::from_path(bench.path("users.csv")).unwrap();
    let ranks: Vec<f64> = csv.records().map(|row| row.unwrap()[5].parse().unwrap()).collect();
    assert_eq!(ranks, popularity_ranks(&histories, false));
    // Candidates that are drawn lie outside the history, masked or not: there is one number.
    let error = bench.refuses(&["eval", "--run", "masked", "--protocol", "sampled:5", "--unmasked"]);
    assert!(error.contains("--unmasked: the candidates of sampled:5 are drawn outside the history"), "{error}");
    bench.train("pop", "sampled", &["--set=eval.protocol=sampled:5"]);
    let metrics = bench.json("sampled/metrics.json");
    assert!(metrics["unmasked"].is_null() && metrics["history_masked"].is_null(), "{metrics}");
    assert!(!bench.ok(&["eval", "--run", "sampled"]).contains("masked"));
    // The lists are of all items, which is said.
    let lists = bench.ok(&["eval", "--run", "sampled", "--lists=3"]);
    assert!(lists.contains("the best of all items, history masked") && lists.contains("coverage@3"), "{lists}");
}

#[test]
fn runs_are_compared_by_one_protocol() {
    let bench = Bench::new();
    bench.train("pop", "full", &[]);
    bench.train("pomrec", "plain", &["--set=train.epochs=1", "--set=eval.mask_history=false"]);
    let drawn =
        ["--set=train.epochs=1", "--set=eval.protocol=sampled:5", "--set=eval.seed=3", "--set=eval.ties=optimistic"];
    bench.train("pomrec", "drawn", &drawn);
    let error = bench.refuses(&["compare", "full", "plain"]);
    assert!(error.contains("history_masked: true and false; --protocol full, or sampled:N, ranks all in"), "{error}");
    let error = bench.refuses(&["compare", "full", "drawn"]);
    assert!(error.contains("protocol: \"full\" and \"sampled:5\"; ties"), "{error}");
    // All as the first, by the protocol that is given.
    bench.ok(&["compare", "full", "plain", "drawn", "--protocol", "full", "--json", "full.json"]);
    let all = bench.json("full.json");
    let masked = bench.json("plain/metrics.json")["masked"]["test"]["ndcg@10"].clone();
    assert_eq!(all["runs"][1]["test"]["ndcg@10"], masked);
    for run in all["runs"].as_array().unwrap() {
        assert_eq!(
            (&run["protocol"], &run["history_masked"], &run["ties"]),
            (&"full".into(), &true.into(), &"average".into())
        );
    }
    bench.ok(&["compare", "drawn", "full", "--protocol", "sampled:7", "--json", "drawn.json"]);
    for run in bench.json("drawn.json")["runs"].as_array().unwrap() {
        assert_eq!((&run["protocol"], &run["candidates_seed"]), (&"sampled:7".into(), &3.into()));
    }
    let by_itself = bench.ok(&["eval", "--run=full", "--protocol=sampled:7", "--metrics=mrr"]);
    assert!(by_itself.contains("(seed 1)"), "{by_itself}");
    // Other data and another split stay apart.
    bench.train("pop", "ratio", &["--set=data.split=ratio:80,10,10"]);
    let error = bench.refuses(&["compare", "full", "ratio", "--protocol", "full"]);
    assert!(error.contains("split: ") && !error.contains("--protocol"), "{error}");
}

/// Every user has 10 events, and no user is cold or repeats nothing for that reason.
#[test]
fn groups_are_left_out_for_their_own_reason() {
    let bench = Bench::new();
    bench.train("pop", "pop", &[]);
    let repeats = histories(&interactions(60, 1)).iter().filter(|h| h[..9].contains(&h[9])).count();
    let error = bench.refuses(&["eval", "--run", "pop", "--targets", "cold"]);
    assert!(error.contains("cold alone: 0 users evaluated, 0 left out, 60 without a cold target"), "{error}");
    let printed = bench.ok(&["eval", "--run", "pop", "--targets", "warm"]);
    assert!(printed.contains("warm alone: 60 users evaluated, 0 left out, 0 without a warm target"), "{printed}");
    let printed = bench.ok(&["eval", "--run", "pop", "--targets", "seen"]);
    assert!(printed.contains(&format!("test     {repeats} targets")) && !printed.contains("fewer than 3"), "{printed}");
}

/// One user has every item: nothing can be drawn for that one, in training or evaluation, and the others continue.
#[test]
fn a_user_of_everything_is_left_out_and_counted() {
    let bench = Bench::new();
    fs::copy("tests/cases/small/bot.csv", bench.path("bot.csv")).unwrap();
    let left_out = |n: usize| format!("{n} target{} of 1 user left out: no item", if n == 1 { "" } else { "s" });
    for (model, more, lines) in [
        (
            "sasrec",
            &["--set=loss.kind=bpr"][..],
            vec![format!("training: {}", left_out(27)), format!("valid: {}", left_out(1))],
        ),
        (
            "bert4rec",
            &["--set=loss.kind=sampled-softmax", "--set=loss.shared=false"],
            vec![format!("training: {}", left_out(27))],
        ),
        ("gru4rec", &["--set=loss.kind=softmax"], vec![format!("valid: {}", left_out(1)), left_out(1)]),
        ("pop", &[], vec![left_out(1)]),
    ] {
        let printed = bench.train(model, model, &[&["--data=bot.csv"], more].concat());
        for line in lines {
            assert!(printed.contains(&line), "{model}: no {line:?} in\n{printed}");
        }
        let metrics = bench.json(&format!("{model}/metrics.json"));
        assert_eq!((&metrics["targets"], &metrics["targets_left_out"]), (&30.into(), &1.into()));
    }
    // Of the users of 5 events none has more than 5 of the 9 items.
    let drawn = bench.ok(&["eval", "--run", "pop", "--protocol=sampled:4"]);
    assert!(drawn.contains("test     30 targets"), "{drawn}");
    assert!(drawn.contains("1 target of 1 user left out: fewer than 4 items are outside the history"), "{drawn}");
    let error = bench.refuses(&["eval", "--run", "pop", "--protocol=sampled:9"]);
    assert!(
        error.contains("sampled:9 needs 9 items outside each user's history, but no user leaves more than"),
        "{error}"
    );
    let compared = bench.ok(&["compare", "pop", "sasrec"]);
    assert!(compared.contains(&left_out(1)), "{compared}");
}

#[test]
fn a_run_read_from_elsewhere_names_its_data() {
    let bench = Bench::new();
    bench.train("pop", "run", &[]);
    bench.train("pop", "other", &["--set=data.split=ratio:80,10,10"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let run = bench.path("run").to_str().unwrap().to_string();
    let from_there = |args: &[&str]| bench.command(args).current_dir(elsewhere.path()).output().unwrap();
    for args in [
        &["eval", "--run", &run][..],
        &["recommend", "--run", &run, "--output", "recs.csv"],
        &["compare", &run, &run],
        &["train", "pop", "--resume", "--out", &run],
    ] {
        let output = from_there(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(
            error.contains("config.toml: data.path is data.csv, which is relative and leads nowhere from"),
            "{error}"
        );
        assert!(error.contains("--data"), "{error}");
    }
    let data = bench.path("data.csv").to_str().unwrap().to_string();
    assert!(from_there(&["eval", "--run", &run, "--data", &data]).status.success());
}

/// Lists that are longer than what the kernel makes are the same lists, only longer.
#[test]
fn lists_of_any_length() {
    let bench = Bench::new();
    let events = |user: u32| (0..20).map(move |event| (user, (user * 37 + event * event * 11 + event) % 700));
    let mut text = "user,item,timestamp\n".to_string();
    for (time, (user, item)) in (0..60).flat_map(events).enumerate() {
        text += &format!("u{user},i{item},{}\n", 1_000_000_000 + time);
    }
    fs::write(bench.path("data.csv"), text).unwrap();
    bench.train("sasrec", "run", &["--set=train.epochs=1"]);
    let rows = |k: &str| -> (String, Vec<Vec<String>>) {
        let printed = bench.ok(&["recommend", "--run", "run", "-k", k, "--output", "recs.csv"]);
        let text = fs::read_to_string(bench.path("recs.csv")).unwrap();
        (printed, text.lines().skip(1).map(|line| line.split(',').map(str::to_string).collect()).collect())
    };
    let (_, short) = rows("256");
    let (_, long) = rows("300");
    assert_eq!((short.len(), long.len()), (60 * 256, 60 * 300));
    let cut: Vec<&Vec<String>> = long.iter().filter(|row| row[2].parse::<u32>().unwrap() <= 256).collect();
    assert!(short.iter().eq(cut), "the same items, ranks and scores");
    // As many as there are: every item that the user does not have.
    let (printed, all) = rows("5000");
    let histories = histories(&fs::read_to_string(bench.path("data.csv")).unwrap());
    let distinct = |items: &mut dyn Iterator<Item = &String>| items.collect::<std::collections::BTreeSet<_>>().len();
    let items = distinct(&mut histories.iter().flatten());
    let left: usize = histories.iter().map(|history| items - distinct(&mut history.iter())).sum();
    assert_eq!(all.len(), left);
    assert!(printed.contains("items for 60 users") && printed.contains("(60 have fewer left)"), "{printed}");
    assert!(all.windows(2).all(|pair| {
        let score = |row: &Vec<String>| row[3].parse::<f32>().unwrap();
        pair[0][0] != pair[1][0] || score(&pair[0]) >= score(&pair[1])
    }));
    let lists = bench.ok(&["eval", "--run", "run", "--lists=1,400"]);
    assert!(lists.contains("coverage@400") && !lists.contains("coverage@5"), "{lists}");
}
