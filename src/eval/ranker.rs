//! Ranks and recommendations on the device: the catalogue is walked in tiles, its scores never leave the device.

use super::config::EvalConfig;
use crate::data::Dataset;
use crate::data::dataset::Set;
use crate::data::samples::{EvalBatch, Part, Sizes, history};
use crate::device::{Device, RunOptions, Runner, Store};
use crate::error::{Error, Result};
use crate::graph::plan::{Options, Plan};
use crate::graph::{Graph, Var};
use crate::kernels::rank::{Pick, Rank, TopK};
use crate::models::{self, History, Inputs, Model};
use crate::tensor::{Spec, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Items scored at once. The scores of a tile are \[B, tile\].
const TILE: usize = 8192;

/// What is ranked against the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Candidates {
    /// Every item outside the row's excluded ones.
    All,
    /// This number of listed items for each row, the target first, filled up with 0.
    Listed(usize),
}

impl Candidates {
    /// What the settings rank a target against.
    pub fn of(config: &EvalConfig) -> Candidates {
        config.sampled().or(config.grouped()).map_or(Candidates::All, |(n, _)| Candidates::Listed(1 + n))
    }
}

/// Shapes of a ranking, and how it is run.
#[derive(Clone, Debug)]
pub struct RankSpec {
    /// Rows of a batch, B.
    pub batch: usize,
    /// Items of a window, M.
    pub max_len: usize,
    /// Items of the catalogue, without padding.
    pub items: usize,
    /// The data sets of which the catalogue is joined, whose users are ranked by their own items alone; empty if it is one.
    pub sets: Vec<Set>,
    /// Length of a batch's `exclude_items`.
    pub exclude_cap: usize,
    pub run: RunOptions,
}

impl RankSpec {
    /// Items that are scored at once.
    fn tile(&self) -> usize {
        self.largest().min(TILE)
    }

    /// The most items that compete with a target.
    fn largest(&self) -> usize {
        self.sets.iter().map(|set| set.items.len()).max().unwrap_or(self.items)
    }

    /// All tiles of the catalogue: each of the items of one data set.
    fn tiles(&self) -> Vec<Tile> {
        let of = |users: Range<u32>, items: Range<u32>| {
            let ids: Vec<u32> = items.collect();
            let tile = |chunk: &[u32]| chunk.iter().copied().chain(std::iter::repeat(0)).take(self.tile()).collect();
            ids.chunks(self.tile()).map(|chunk| Tile { users: users.clone(), ids: tile(chunk) }).collect::<Vec<_>>()
        };
        match &self.sets[..] {
            [] => of(0..u32::MAX, 1..self.items as u32 + 1),
            sets => sets.iter().flat_map(|set| of(set.users.clone(), set.items.clone())).collect(),
        }
    }
}

/// Items that are scored at once.
struct Tile {
    /// The users who are ranked by them.
    users: Range<u32>,
    /// Filled with 0.
    ids: Vec<u32>,
}

/// The state that holds the users of the batch in hand, from the plan that computes them to those that score them.
const USERS: &str = "eval.users";

/// The states that [`Ranker`] and [`Recommender`] need in a store for histories of `max_len` events.
pub fn states(model: &dyn Model, batch: usize, max_len: usize, candidates: Candidates) -> Vec<(String, usize)> {
    let g = Graph::new();
    let user = user(&g, model, batch, max_len);
    let mut states = vec![(USERS.into(), user.shape().elements())];
    // Recommending scores all items, whatever the protocol.
    scores(&g, model, user, Candidates::All);
    let prepared = prepared(&g, model, user, candidates).into_iter();
    states.extend(prepared.map(|(name, spec)| (Graph::prepared_name(&name), spec.shape.elements())));
    states
}

/// Each history's representation.
fn user<'g>(g: &'g Graph, model: &dyn Model, batch: usize, max_len: usize) -> Var<'g> {
    let sizes = Sizes { batch, max_len, targets: 0, padding: model.padding() };
    let columns = history::History { reads: model.reads(), features: None }.columns(&sizes);
    model.user(g, &History::of(&Inputs::declare(g, &columns), false))
}

/// Traces scores of one tile.
fn scores<'g>(g: &'g Graph, model: &dyn Model, user: Var<'g>, candidates: Candidates) {
    let (batch, ids) = (user.shape()[0], |shape: &[usize]| g.input("ids", Spec::u32(shape)));
    model.scores(
        g,
        user,
        match candidates {
            Candidates::All => models::Candidates::Shared(ids(&[1])),
            Candidates::Listed(n) => models::Candidates::Listed(ids(&[batch, n])),
        },
    );
}

/// Computes what scores are prepared by, and keeps it: names and shapes.
fn prepared<'g>(g: &'g Graph, model: &dyn Model, user: Var<'g>, candidates: Candidates) -> Vec<(String, Spec)> {
    scores(g, model, user, candidates);
    g.keep_prepared()
}

/// What the plan that computes the users of a batch hands on to those that score them.
struct Handed {
    /// What depends only on parameters.
    prepared: Vec<(String, Spec)>,
    /// Of all users of a batch.
    users: Spec,
}

impl Handed {
    /// Also the graphs that compute it: what depends only on parameters, if there is something, and the users.
    fn trace(model: &dyn Model, spec: &RankSpec, candidates: Candidates) -> (Handed, Option<Graph>, Graph) {
        let prepare = Graph::new();
        let prepared = prepared(&prepare, model, user(&prepare, model, spec.batch, spec.max_len), candidates);
        let g = Graph::with_prepared(&prepared);
        let user = user(&g, model, spec.batch, spec.max_len);
        let users = Spec::f32(user.shape());
        g.assign(g.state(USERS, USERS, 0, users.clone()), user);
        let prepare = (!prepared.is_empty()).then_some(prepare);
        (Handed { prepared, users }, prepare, g)
    }

    fn graph(&self) -> Graph {
        Graph::with_prepared(&self.prepared)
    }

    /// A graph with inputs and scores of a tile: (ids, scores).
    fn scores<'g>(
        &self,
        g: &'g Graph,
        model: &dyn Model,
        spec: &RankSpec,
        candidates: Candidates,
    ) -> (Var<'g>, Var<'g>) {
        let user = g.state(USERS, USERS, 0, self.users.clone());
        match candidates {
            Candidates::All => {
                let ids = g.input("ids", Spec::u32([spec.tile()]));
                (ids, model.scores(g, user, models::Candidates::Shared(ids)))
            }
            Candidates::Listed(n) => {
                let ids = g.input("ids", Spec::u32([spec.batch, n]));
                (ids, model.scores(g, user, models::Candidates::Listed(ids)))
            }
        }
    }
}

/// The users of a batch, computed once for all tiles.
struct Users {
    /// Computes what depends only on parameters, if there is something.
    prepare: Option<Runner>,
    runner: Runner,
    handed: Handed,
}

impl Users {
    fn new(
        device: &Device,
        store: &Store,
        model: &dyn Model,
        spec: &RankSpec,
        candidates: Candidates,
    ) -> Result<Users> {
        let compile = |g: &Graph| device.compile(&device.plan(g, Options::default())?, store, spec.run);
        let (handed, prepare, users) = Handed::trace(model, spec, candidates);
        Ok(Users { prepare: prepare.as_ref().map(compile).transpose()?, runner: compile(&users)?, handed })
    }

    /// Computes what depends only on parameters: they may have changed.
    fn prepare(&mut self) -> Result<()> {
        self.prepare.as_mut().map_or(Ok(()), Runner::run)
    }

    fn run(&mut self, batch: &EvalBatch) -> Result<()> {
        batch.columns.write(&mut self.runner)?;
        self.runner.run()
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

/// The rank of a target: how many items score above it, and how many others score the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of the items that compete with it.
    pub competing: (u32, u32),
    /// Of the excluded ones.
    pub excluded: (u32, u32),
}

impl Standing {
    /// With the excluded items among the candidates.
    pub fn all(self) -> (u32, u32) {
        let Standing { competing: (above, level), excluded } = self;
        (above + excluded.0, level + excluded.1)
    }
}

/// The graph that ranks the targets among a tile, and the one that finds their scores, where that takes a pass over the tiles of
/// its own.
fn rank_graphs(handed: &Handed, model: &dyn Model, spec: &RankSpec, candidates: Candidates) -> (Graph, Option<Graph>) {
    let one_pass = candidates != Candidates::All || spec.largest() <= TILE;
    fn pick<'g>(g: &'g Graph, (ids, scores): (Var<'g>, Var<'g>)) -> Var<'g> {
        g.push(Pick, &[scores, ids, g.input("target", Spec::u32([scores.shape()[0]]))])
    }
    let g = handed.graph();
    let (ids, scores) = handed.scores(&g, model, spec, candidates);
    let target_score =
        if one_pass { pick(&g, (ids, scores)) } else { g.input("target_score", Spec::f32([spec.batch])) };
    let offsets = g.input("exclude_offsets", Spec::u32([spec.batch + 1]));
    let excluded = g.input("exclude_items", Spec::u32([spec.exclude_cap]));
    g.result("counts", g.push(Rank, &[scores, ids, target_score, offsets, excluded]));
    let targets = (!one_pass).then(|| {
        let g = handed.graph();
        g.result("score", pick(&g, handed.scores(&g, model, spec, candidates)));
        g
    });
    (g, targets)
}

/// What a [`Ranker`] compiles, one plan after the other.
pub fn plans(model: &dyn Model, spec: &RankSpec, candidates: Candidates, options: Options) -> Result<Vec<Plan>> {
    let (handed, prepare, users) = Handed::trace(model, spec, candidates);
    let (rank, targets) = rank_graphs(&handed, model, spec, candidates);
    let graphs = prepare.into_iter().chain([users, rank]).chain(targets);
    graphs.map(|g| Plan::new(&g, options)).collect()
}

/// The rank of each target among the items.
pub struct Ranker {
    users: Users,
    /// Finds the targets' scores, where that takes a pass over the tiles of its own.
    targets: Option<Runner>,
    rank: Runner,
    tiles: Vec<Tile>,
}

impl Ranker {
    pub fn new(
        device: &Device,
        store: &Store,
        model: &dyn Model,
        spec: &RankSpec,
        candidates: Candidates,
    ) -> Result<Ranker> {
        let compile = |g: &Graph| device.compile(&device.plan(g, Options::default())?, store, spec.run);
        let users = Users::new(device, store, model, spec, candidates)?;
        let (rank, targets) = rank_graphs(&users.handed, model, spec, candidates);
        let (rank, targets) = (compile(&rank)?, targets.as_ref().map(compile).transpose()?);
        let tiles = match candidates {
            Candidates::All => spec.tiles(),
            Candidates::Listed(_) => vec![Tile { users: 0..u32::MAX, ids: vec![] }],
        };
        Ok(Ranker { users, targets, rank, tiles })
    }

    /// Computes what depends only on parameters: call it when these may have changed.
    pub fn prepare(&mut self) -> Result<()> {
        self.users.prepare()
    }

    /// Computes only the users of `batch`.
    pub fn forward(&mut self, batch: &EvalBatch) -> Result<()> {
        self.users.run(batch)
    }

    /// Waits until all that was asked for is done.
    pub fn wait(&mut self) -> Result<()> {
        self.users.runner.wait()
    }

    /// The standing of each real row's target, or the item whose score is not finite (0: the target).
    pub fn ranks(&mut self, batch: &EvalBatch) -> Result<Vec<Result<Standing, u32>>> {
        self.users.run(batch)?;
        let Ranker { targets, rank, tiles, .. } = self;
        let users = &batch.users[..batch.samples];
        let tiles = || tiles.iter().filter(|tile| users.iter().any(|user| tile.users.contains(user)));
        if let Some(runner) = targets {
            let mut score = vec![0.0f32; batch.target.len()];
            runner.write_u32("target", &batch.target)?;
            for Tile { ids, .. } in tiles() {
                runner.write_u32("ids", ids)?;
                runner.run()?;
                score.iter_mut().zip(runner.read("score")?.to_f32()).for_each(|(s, x)| *s += x);
            }
            rank.write_f32("target_score", &score)?;
        } else {
            rank.write_u32("target", &batch.target)?;
        }
        write_excluded(rank, batch)?;
        let mut standings = vec![Ok(Standing::default()); batch.samples];
        for tile in tiles() {
            rank.write_u32("ids", batch.candidates.as_deref().unwrap_or(&tile.ids))?;
            rank.run()?;
            let counts = rank.read("counts")?;
            let rows = standings.iter_mut().zip(users).zip(counts.as_u32().chunks(Rank::COUNTS));
            for ((standing, _), c) in rows.filter(|((_, user), _)| tile.users.contains(user)) {
                *standing = standing.and_then(|Standing { competing, excluded }| match c[0] {
                    Rank::NOT_FINITE => Err(c[1]),
                    _ => Ok(Standing {
                        competing: (competing.0 + c[0], competing.1 + c[1]),
                        excluded: (excluded.0 + c[2], excluded.1 + c[3]),
                    }),
                });
            }
        }
        // The target, which is excluded, is level with itself.
        standings.iter_mut().flatten().for_each(|standing| standing.excluded.1 = standing.excluded.1.saturating_sub(1));
        Ok(standings)
    }
}

/// The k best items of each user.
pub struct Recommender {
    users: Users,
    /// Of k that the kernel takes the best so far and of a tile, of more the scores of a tile.
    runner: Runner,
    tiles: Vec<Tile>,
    k: usize,
}

impl Recommender {
    /// `k` is at least 1.
    pub fn new(device: &Device, store: &Store, model: &dyn Model, spec: &RankSpec, k: usize) -> Result<Recommender> {
        let mut users = Users::new(device, store, model, spec, Candidates::All)?;
        users.prepare()?;
        let g = users.handed.graph();
        let (ids, tile_scores) = users.handed.scores(&g, model, spec, Candidates::All);
        if k <= TopK::MAX_K {
            let offsets = g.input("exclude_offsets", Spec::u32([spec.batch + 1]));
            let excluded = g.input("exclude_items", Spec::u32([spec.exclude_cap]));
            let best_scores = g.input("best_scores", Spec::f32([spec.batch, k]));
            let best_ids = g.input("best_ids", Spec::u32([spec.batch, k]));
            let best = g.try_push(TopK, &[tile_scores, ids, offsets, excluded, best_scores, best_ids])?;
            g.result("scores", best[0]);
            g.result("ids", best[1]);
        } else {
            g.result("scores", tile_scores);
        }
        let runner = device.compile(&device.plan(&g, Options::default())?, store, spec.run)?;
        Ok(Recommender { users, runner, tiles: spec.tiles(), k })
    }

    /// For each real row the best items and their scores, best first, equal scores by lower item; fewer than k where fewer
    /// are left. An item whose score is not finite comes first, with the score [`TopK::NOT_FINITE`].
    pub fn best(&mut self, batch: &EvalBatch) -> Result<Vec<Vec<(u32, f32)>>> {
        self.users.run(batch)?;
        if self.k <= TopK::MAX_K { self.on_the_device(batch) } else { self.on_the_host(batch) }
    }

    fn on_the_device(&mut self, batch: &EvalBatch) -> Result<Vec<Vec<(u32, f32)>>> {
        let Recommender { runner, tiles, k, .. } = self;
        write_excluded(runner, batch)?;
        let n = batch.target.len() * *k;
        let (mut scores, mut ids) = (Tensor::zeros([n]), Tensor::u32([n], vec![0; n]));
        for Tile { ids: tile, .. } in tiles {
            runner.write_u32("ids", tile)?;
            runner.write("best_scores", &scores)?;
            runner.write("best_ids", &ids)?;
            runner.run()?;
            (scores, ids) = (runner.read("scores")?, runner.read("ids")?);
        }
        let scores = scores.to_f32();
        let rows = ids.as_u32().chunks(*k).zip(scores.chunks(*k)).take(batch.samples);
        Ok(rows.map(|(i, s)| i.iter().copied().zip(s.iter().copied()).filter(|(i, _)| *i != 0).collect()).collect())
    }

    /// Lists that are longer than the kernel's: the scores of each tile come to the host, which keeps the best so far.
    fn on_the_host(&mut self, batch: &EvalBatch) -> Result<Vec<Vec<(u32, f32)>>> {
        let Recommender { runner, tiles, k, .. } = self;
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let mut lists: Vec<Vec<(u32, f32)>> = vec![vec![]; batch.samples];
        for Tile { ids: tile, .. } in tiles {
            runner.write_u32("ids", tile)?;
            runner.run()?;
            let scores = runner.read("scores")?.to_f32();
            let rows = lists.par_iter_mut().zip(scores.par_chunks(tile.len())).enumerate();
            rows.for_each(|(row, (list, scores))| {
                let excluded = batch.excluded(row);
                let finite = |score: f32| if score.is_finite() { score } else { TopK::NOT_FINITE };
                let items = tile.iter().copied().zip(scores.iter().map(|&score| finite(score)));
                list.extend(items.filter(|(item, _)| *item != 0 && excluded.binary_search(item).is_err()));
                if list.len() > *k {
                    list.select_nth_unstable_by(*k - 1, order);
                    list.truncate(*k);
                }
            });
        }
        lists.par_iter_mut().for_each(|list| list.sort_unstable_by(order));
        Ok(lists)
    }
}
