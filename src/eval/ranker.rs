//! Ranks and recommendations on the device: the catalogue is walked in tiles, its scores never leave the device.

use crate::data::Dataset;
use crate::data::batches::{EvalBatch, Padding};
use crate::device::{Device, RunOptions, Runner, Store};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::plan::Options;
use crate::kernels::rank::{Pick, Rank, TopK};
use crate::models::history::{write_besides, write_history};
use crate::models::{History, Model};
use crate::tensor::{Spec, Tensor};

/// Items scored at once. The scores of a tile are \[B, tile\].
const TILE: usize = 8192;

/// What is ranked against the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// Every item outside the row's excluded ones.
    All,
    /// So many listed items a row, the target first.
    Listed(usize),
}

/// Shapes of a ranking, and how it is run.
#[derive(Clone, Copy, Debug)]
pub struct RankSpec {
    /// Rows of a batch, B.
    pub batch: usize,
    /// Items of a window, M.
    pub max_len: usize,
    /// Items of the catalogue, without padding.
    pub items: usize,
    /// Length of a batch's `exclude_items`.
    pub exclude_cap: usize,
    pub run: RunOptions,
}

/// The state that holds the users of the batch in hand, from the plan that computes them to those that score them.
const USERS: &str = "eval.users";

/// The state that [`Ranker`] and [`Recommender`] need in a store, for users of the model's width.
pub fn states(model: &dyn Model, batch: usize) -> Vec<(String, usize)> {
    let g = Graph::new();
    let width = model.output(&g).table.shape()[1];
    vec![(USERS.into(), batch * width)]
}

/// The users of a batch, computed once for all tiles.
struct Users {
    runner: Runner,
    padding: Padding,
    max_len: usize,
    recency: Vec<u32>,
}

impl Users {
    fn new(device: &Device, store: &Store, model: &dyn Model, spec: &RankSpec) -> Result<Users> {
        let g = Graph::new();
        let user = model.user(&g, &History::inputs(&g, spec.batch, spec.max_len, model.reads(), false));
        let state = g.state(USERS, USERS, 0, Spec::f32(user.shape()));
        g.assign(state, user);
        let runner = device.compile(&device.plan(&g, Options::default())?, store, spec.run)?;
        Ok(Users { runner, padding: model.padding(), max_len: spec.max_len, recency: vec![] })
    }

    fn run(&mut self, batch: &EvalBatch) -> Result<()> {
        let Users { runner, padding, max_len, recency } = self;
        write_history(runner, &batch.history, &batch.lengths, *max_len, *padding, recency)?;
        write_besides(runner, &batch.besides)?;
        runner.run()
    }
}

/// The ids of each tile of the catalogue, the last one filled with 0.
fn tiles(items: usize) -> Vec<Vec<u32>> {
    let width = items.min(TILE);
    let ids: Vec<u32> = (1..=items as u32).collect();
    let tile = |chunk: &[u32]| chunk.iter().copied().chain(std::iter::repeat(0)).take(width).collect();
    ids.chunks(width).map(tile).collect()
}

/// Adds inputs and scores of a tile: (ids, scores).
fn scores<'g>(
    g: &'g Graph,
    model: &dyn Model,
    spec: &RankSpec,
    candidates: Candidates,
) -> (crate::graph::Var<'g>, crate::graph::Var<'g>) {
    let width = model.output(g).table.shape()[1];
    let user = g.state(USERS, USERS, 0, Spec::f32([spec.batch, width]));
    match candidates {
        Candidates::All => {
            let ids = g.input("ids", Spec::u32([spec.items.min(TILE)]));
            (ids, model.scores(g, user, ids))
        }
        Candidates::Listed(n) => {
            let ids = g.input("ids", Spec::u32([spec.batch, n]));
            (ids, model.listed_scores(g, user, ids))
        }
    }
}

fn write_excluded(runner: &mut Runner, batch: &EvalBatch) -> Result<()> {
    runner.write_u32("exclude_offsets", &batch.exclude_offsets)?;
    runner.write_u32("exclude_items", &batch.exclude_items)
}

/// The error where a user's score of an item is not finite, so that nothing can be ranked for that user.
pub fn not_finite(data: &Dataset, user: u32, item: u32) -> Error {
    let (user, item) = (data.user_name(user), data.item_name(item));
    Error::NotFinite(format!(
        "user {user:?}: the score of item {item:?} is not finite, so that nothing can be ranked; the model's parameters have \
         grown too large: train it again with a lower train.lr"
    ))
}

/// How many candidates score above and equal to each target.
pub struct Ranker {
    users: Users,
    /// Finds the targets' scores, where that takes a pass over the tiles of its own.
    targets: Option<Runner>,
    rank: Runner,
    tiles: Vec<Vec<u32>>,
}

impl Ranker {
    pub fn new(
        device: &Device,
        store: &Store,
        model: &dyn Model,
        spec: &RankSpec,
        candidates: Candidates,
    ) -> Result<Ranker> {
        let tiles = if candidates == Candidates::All { tiles(spec.items) } else { vec![vec![]] };
        let one_pass = tiles.len() == 1;
        let compile = |g: &Graph| device.compile(&device.plan(g, Options::default())?, store, spec.run);
        let g = Graph::new();
        let (ids, tile_scores) = scores(&g, model, spec, candidates);
        let target_score = if one_pass {
            g.push(Pick, &[tile_scores, ids, g.input("target", Spec::u32([spec.batch]))])
        } else {
            g.input("target_score", Spec::f32([spec.batch]))
        };
        let offsets = g.input("exclude_offsets", Spec::u32([spec.batch + 1]));
        let excluded = g.input("exclude_items", Spec::u32([spec.exclude_cap]));
        let counts = g.try_push(Rank, &[tile_scores, ids, target_score, offsets, excluded])?;
        g.result("greater", counts[0]);
        g.result("equal", counts[1]);
        let rank = compile(&g)?;
        let targets = if one_pass {
            None
        } else {
            let g = Graph::new();
            let (ids, tile_scores) = scores(&g, model, spec, candidates);
            g.result("score", g.push(Pick, &[tile_scores, ids, g.input("target", Spec::u32([spec.batch]))]));
            Some(compile(&g)?)
        };
        Ok(Ranker { users: Users::new(device, store, model, spec)?, targets, rank, tiles })
    }

    /// Computes the users of `batch` alone.
    pub fn forward(&mut self, batch: &EvalBatch) -> Result<()> {
        self.users.run(batch)
    }

    /// Waits until all that was asked for is done.
    pub fn wait(&mut self) -> Result<()> {
        self.users.runner.wait()
    }

    /// (greater, equal) of each real row of `batch`; ([`Rank::NOT_FINITE`], item) where the score of an item is not finite,
    /// 0 for the target.
    pub fn ranks(&mut self, batch: &EvalBatch) -> Result<Vec<(u32, u32)>> {
        self.users.run(batch)?;
        let Ranker { targets, rank, tiles, .. } = self;
        if let Some(runner) = targets {
            let mut score = vec![0.0f32; batch.target.len()];
            runner.write_u32("target", &batch.target)?;
            for ids in tiles.iter() {
                runner.write_u32("ids", ids)?;
                runner.run()?;
                score.iter_mut().zip(runner.read("score")?.to_f32()).for_each(|(s, x)| *s += x);
            }
            rank.write_f32("target_score", &score)?;
        } else {
            rank.write_u32("target", &batch.target)?;
        }
        write_excluded(rank, batch)?;
        let mut counts = vec![(0, 0); batch.samples];
        for ids in tiles.iter() {
            rank.write_u32("ids", batch.candidates.as_deref().unwrap_or(ids))?;
            rank.run()?;
            let (greater, equal) = (rank.read("greater")?, rank.read("equal")?);
            for (c, (&g, &e)) in counts.iter_mut().zip(greater.as_u32().iter().zip(equal.as_u32())) {
                *c = match (c.0, g) {
                    (Rank::NOT_FINITE, _) => *c,
                    (_, Rank::NOT_FINITE) => (g, e),
                    _ => (c.0 + g, c.1 + e),
                };
            }
        }
        Ok(counts)
    }
}

/// The k best items of each user.
pub struct Recommender {
    users: Users,
    best: Runner,
    tiles: Vec<Vec<u32>>,
    k: usize,
}

impl Recommender {
    /// It is an error if `k` is 0 or over [`TopK::MAX_K`].
    pub fn new(device: &Device, store: &Store, model: &dyn Model, spec: &RankSpec, k: usize) -> Result<Recommender> {
        let g = Graph::new();
        let (ids, tile_scores) = scores(&g, model, spec, Candidates::All);
        let offsets = g.input("exclude_offsets", Spec::u32([spec.batch + 1]));
        let excluded = g.input("exclude_items", Spec::u32([spec.exclude_cap]));
        let best_scores = g.input("best_scores", Spec::f32([spec.batch, k]));
        let best_ids = g.input("best_ids", Spec::u32([spec.batch, k]));
        let best = g.try_push(TopK, &[tile_scores, ids, offsets, excluded, best_scores, best_ids])?;
        g.result("scores", best[0]);
        g.result("ids", best[1]);
        let best = device.compile(&device.plan(&g, Options::default())?, store, spec.run)?;
        Ok(Recommender { users: Users::new(device, store, model, spec)?, best, tiles: tiles(spec.items), k })
    }

    /// For each real row the best items and their scores, best first; fewer than k where fewer are left. An item whose score
    /// is not finite comes first, with the score [`TopK::NOT_FINITE`].
    pub fn best(&mut self, batch: &EvalBatch) -> Result<Vec<Vec<(u32, f32)>>> {
        self.users.run(batch)?;
        write_excluded(&mut self.best, batch)?;
        let n = batch.target.len() * self.k;
        let (mut scores, mut ids) = (Tensor::zeros([n]), Tensor::u32([n], vec![0; n]));
        for tile in &self.tiles {
            self.best.write_u32("ids", tile)?;
            self.best.write("best_scores", &scores)?;
            self.best.write("best_ids", &ids)?;
            self.best.run()?;
            (scores, ids) = (self.best.read("scores")?, self.best.read("ids")?);
        }
        let scores = scores.to_f32();
        let rows = ids.as_u32().chunks(self.k).zip(scores.chunks(self.k)).take(batch.samples);
        Ok(rows.map(|(i, s)| i.iter().copied().zip(s.iter().copied()).filter(|(i, _)| *i != 0).collect()).collect())
    }
}
