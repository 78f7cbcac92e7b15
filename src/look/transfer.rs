//! What tells the data sets of a pre-training apart (ANT, figure 2): how well a linear classifier does by the embeddings of their
//! items as they are, and as the pre-trained item tower transforms them.

use crate::config::Config;
use crate::device::{Device, RunOptions, Store};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::plan::Options;
use crate::models::{Model, Task};
use crate::nn::tower::Known;
use crate::tensor::philox::Stream;
use crate::train::known::present;
use crate::train::{Corpus, Experiment, RunFolder, Session};
use serde::Serialize;
use std::ops::Range;

mod linear;

pub use linear::Accuracy;

/// Least items of each of two data sets that a classifier is trained on.
const LEAST: usize = 20;

/// What there is to say of the data sets of a pre-training.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Transfer {
    pub sets: Vec<Counted>,
    pub pairs: Vec<Told>,
}

/// A data set, by its numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Counted {
    pub name: String,
    pub users: usize,
    pub items: usize,
    pub events: usize,
    /// Of each kind, the share of the items that lack it.
    pub missing: Vec<(&'static str, f64)>,
}

/// How well two data sets are told apart by one kind of what is known of their items.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    pub kind: &'static str,
    pub a: String,
    pub b: String,
    /// Items of each: as many of both, drawn at random from those that have the kind.
    pub items: usize,
    /// None where a set has fewer than 20 items with the kind.
    pub raw: Option<Accuracy>,
    pub transformed: Option<Accuracy>,
}

/// One kind of a data set's items: rows of those that have it.
struct Rows {
    kind: &'static str,
    raw: Vec<Vec<f64>>,
    transformed: Vec<Vec<f64>>,
}

/// A data set with all that is known of its items.
struct Set {
    counted: Counted,
    kinds: Vec<Rows>,
}

impl Transfer {
    /// Of the pre-training in `folder`, and of the data that it was adapted to, if it was in that folder.
    ///
    /// # Errors
    /// A run without pre-training on other data, one that took it from another run, or one whose pre-training has no parameters yet.
    pub fn of(folder: &mut RunFolder, device: Option<&str>) -> Result<Transfer> {
        let config = folder.config()?;
        let phases = config.model.phases(false)?;
        let Some(pretrain) = phases.iter().find(|phase| phase.auxiliary) else {
            let (path, model) = (folder.path().display(), config.model.name());
            let why = "it is trained on no other data; expected a run that is pre-trained on data.auxiliary";
            return Err(Error::Usage(format!("{path}: a run of {model}: {why}")));
        };
        if let Some(from) = &config.from {
            let (path, from) = (folder.path().display(), from.display());
            return Err(Error::Usage(format!(
                "{path}: the pre-training that it takes is that of {from}; expected a run with its own, as that one"
            )));
        }
        let adapts = config.chosen(&phases).iter().any(|name| *name != pretrain.name);
        let only = |name: &str| {
            let (name, device) = (name.to_string(), device.unwrap_or(&config.device).to_string());
            move |config: &mut Config| {
                (config.phases, config.from, config.device) = (Some(vec![name]), None, device);
            }
        };
        let seed = config.seed;
        let (session, store, _) = Session::of_run(folder, None, only(&pretrain.name))?;
        let mut sets = vec![];
        for set in session.data.sets() {
            let items = set.items.start as usize..set.items.end as usize;
            let users = set.users.clone();
            let events = users.clone().map(|user| session.data.history(user).len()).sum();
            let (of, counted) = ((&session.device, &*session.model, &store), (&*set.name, users.len(), events));
            sets.push(Set::of(of, &session.corpus.known.kinds, items, counted)?);
        }
        if let (true, Some(last)) = (adapts, phases.last()) {
            let mut config = config.clone();
            only(&last.name)(&mut config);
            let experiment = Experiment::open(config)?;
            let own = experiment.corpus(last)?;
            sets.push(Set::adapted(&session, &store, &own)?);
        }
        let mut pairs = vec![];
        for number in 0..sets.first().map_or(0, |set| set.kinds.len()) {
            for (at, a) in sets.iter().enumerate() {
                pairs.extend(sets[at + 1..].iter().map(|b| told(number, (a, b), seed)));
            }
        }
        Ok(Transfer { sets: sets.into_iter().map(|set| set.counted).collect(), pairs })
    }
}

impl Set {
    /// Of the rows `items` of all `known` kinds, transformed by the tower of `model` with the parameters in `store`.
    fn of(
        (device, model, store): (&Device, &dyn Model, &Store),
        known: &[Known],
        items: Range<usize>,
        (name, users, events): (&str, usize, usize),
    ) -> Result<Set> {
        let (mut kinds, mut missing) = (vec![], vec![]);
        for kind in known {
            let g = Graph::new();
            // Texts that have lost words are no kind of their own.
            let tower = model.params().tower();
            let of_kind = tower.and_then(|tower| tower.of_kind(kind.name, model.params(), &g));
            let Some((transformed, _)) = of_kind else { continue };
            g.result("kind", transformed);
            let mut runner = device.compile(&device.plan(&g, Options::default())?, store, RunOptions::default())?;
            runner.run()?;
            let transformed = runner.read("kind")?;
            let (raw, there) = (kind.floats(), present(kind));
            let rows: Vec<usize> = items.clone().filter(|row| there[*row]).collect();
            missing.push((kind.name, 1.0 - rows.len() as f64 / items.len() as f64));
            let pick = |all: &[f32], width: usize| -> Vec<Vec<f64>> {
                rows.iter().map(|row| all[row * width..(row + 1) * width].iter().map(|x| *x as f64).collect()).collect()
            };
            let width = transformed.shape.last_dim();
            let (raw, transformed) = (pick(&raw, kind.features.width), pick(&transformed.to_f32(), width));
            kinds.push(Rows { kind: kind.name, raw, transformed });
        }
        Ok(Set { counted: Counted { name: name.to_string(), users, items: items.len(), events, missing }, kinds })
    }

    /// Of the data that a model is adapted to, transformed by the tower as it was pre-trained: its maps have no row for an item.
    fn adapted(session: &Session, store: &Store, own: &Corpus) -> Result<Set> {
        let (data, device, trained) = (&own.data, &session.device, session.model.params());
        let (items, users, known) = (data.items(), data.users(), own.known.kinds.clone());
        let model = session.config.model.build(&Task { items, users, known, ..session.task.clone() })?;
        let params = model.params();
        let mut there = device.store(&params.states())?;
        params.lend_to(device, &mut there)?;
        for p in params.iter().filter(|p| p.name.starts_with("tower.")) {
            params.write(&mut there, &p.name, &trained.read(store, &p.name)?)?;
        }
        Set::of((device, &*model, &there), &own.known.kinds, 1..items + 1, (&own.name, users, data.interactions()))
    }
}

/// How well two data sets are told apart by kind `number` of what is known of their items.
fn told(number: usize, (a, b): (&Set, &Set), seed: u64) -> Told {
    let [of_a, of_b] = [a, b].map(|set| &set.kinds[number]);
    let (name_a, name_b) = (&a.counted.name, &b.counted.name);
    let items = of_a.raw.len().min(of_b.raw.len());
    // As many of both, the same for both embeddings.
    let draw = |rows: usize, name: &str| {
        let mut all: Vec<usize> = (0..rows).collect();
        Stream::new(seed, name, 0).shuffle(&mut all);
        all.truncate(items);
        all
    };
    let (from_a, from_b) = (draw(of_a.raw.len(), name_a), draw(of_b.raw.len(), name_b));
    let of = |a: &[Vec<f64>], b: &[Vec<f64>]| {
        let rows = |all: &[Vec<f64>], drawn: &[usize]| drawn.iter().map(|row| all[*row].clone()).collect::<Vec<_>>();
        (items >= LEAST).then(|| linear::tell([rows(a, &from_a), rows(b, &from_b)]))
    };
    Told {
        kind: of_a.kind,
        a: name_a.clone(),
        b: name_b.clone(),
        items,
        raw: of(&of_a.raw, &of_b.raw),
        transformed: of(&of_a.transformed, &of_b.transformed),
    }
}
