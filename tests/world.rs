//! What models reach on the embedded world, whose oracle is known: each clears the one below it, and order matters to the best.

use std::path::Path;
use wgrec::config::Config;
use wgrec::data::{EvalBatches, EvalSpec, Part};
use wgrec::device::{RunOptions, Store};
use wgrec::eval::ranker::{Candidates, RankSpec, Ranker, Standing};
use wgrec::eval::{Metric, TieRule};
use wgrec::tensor::philox::Stream;
use wgrec::train::{FitOptions, Report, RunFolder, Session};

const METRIC: Metric = Metric::Ndcg(10);

/// Trains `model` in `folder`; the test NDCG@10 of itself, of popularity and of the oracle.
fn train(model: &str, folder: &Path, settings: &[&str]) -> [f64; 3] {
    let set = |config: Config, setting: &&str| config.with_setting(setting).unwrap();
    let config = ["device=cpu"].iter().chain(settings).fold(Config::of(model).unwrap().embedded(), set);
    let session = Session::open(config).unwrap();
    let folder = RunFolder::new(folder).unwrap();
    let (metrics, _) = session.fit(&folder, FitOptions::default(), &mut Report::standard()).unwrap();
    let of = |of: &serde_json::Value| of["test"]["ndcg@10"].as_f64().unwrap();
    [of(&metrics), of(&metrics["pop"]), of(&metrics["oracle"])]
}

/// The expected test NDCG@10 of a random order of the items outside the history.
fn chance(session: &Session) -> f64 {
    let gains: f64 = (1..=10).map(|rank| METRIC.of(rank as f64)).sum();
    let targets = session.split.targets(&session.data, Part::Test);
    let each: Vec<f64> = targets.map(|(_, events)| gains / (session.data.items() - events as usize) as f64).collect();
    each.iter().sum::<f64>() / each.len() as f64
}

/// The test NDCG@10 when every history is read in random order.
fn shuffled(session: &Session, store: &Store) -> f64 {
    let Session { config, data, model, .. } = session;
    let (batch, max_len) = (config.eval.batch, config.data.max_len);
    let spec = EvalSpec { batch, max_len, padding: model.padding(), ..EvalSpec::default() };
    let batches = EvalBatches::new(data.clone(), session.split.clone(), Part::Test, spec).unwrap();
    let (items, exclude_cap) = (data.items(), batches.exclude_cap());
    let spec = RankSpec { batch, max_len, items, sets: vec![], exclude_cap, run: RunOptions::default() };
    let mut ranker = Ranker::new(&session.device, store, &**model, &spec, Candidates::All).unwrap();
    let mut stream = Stream::new(1, "shuffled histories", 0);
    let mut ranks = vec![];
    for mut batch in batches.batches() {
        for window in batch.columns.get_mut("history").u32().chunks_mut(max_len) {
            let padding = window.iter().take_while(|&&item| item == 0).count();
            stream.shuffle(&mut window[padding..]);
        }
        let standings = ranker.ranks(&batch).unwrap().into_iter().map(Result::unwrap);
        ranks.extend(standings.map(|Standing { competing: (above, level), .. }| TieRule::Average.rank(above, level)));
    }
    METRIC.mean(&ranks)
}

#[test]
fn each_model_clears_the_one_below_it_and_order_matters() {
    let folder = tempfile::tempdir().unwrap();
    let [ease, pop, oracle] = train("ease", &folder.path().join("ease"), &[]);
    let path = folder.path().join("sasrec");
    let settings =
        ["loss.kind=softmax", "train.epochs=6", "eval.every=6", "train.batch=64", "train.lr=2e-3", "model.layers=1"];
    let [sasrec, ..] = train("sasrec", &path, &settings);
    let (session, store, _) = Session::of_run(&mut RunFolder::open(&path).unwrap(), None, |_| {}).unwrap();
    let (chance, shuffled) = (chance(&session), shuffled(&session, &store));
    let found = format!(
        "chance {chance:.4}, pop {pop:.4}, EASE {ease:.4}, SASRec {sasrec:.4} (histories shuffled: {shuffled:.4}), oracle {oracle:.4}"
    );
    println!("{found}");
    assert!([chance, pop, ease, sasrec, oracle].is_sorted_by(|a, b| a < b), "{found}");
    assert!(shuffled <= 0.9 * sasrec, "{found}");
}
