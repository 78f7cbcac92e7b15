//! Evaluation batches: histories, what is asked for, and what is not ranked.

use super::history::{Filler, History};
use super::{Column, Columns, Fill, Ordered, Padding, Part, Reads, Sample, Sizes, positive};
use crate::data::ask::Ask;
use crate::data::dataset::Dataset;
use crate::data::features::Features;
use crate::data::negatives::{Candidates, LeftOut, Marks, taken};
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use std::sync::Arc;

/// What evaluation batches are like.
#[derive(Clone, Debug)]
pub struct EvalSpec {
    /// Rows a batch, B.
    pub batch: usize,
    /// Items a window, M.
    pub max_len: usize,
    pub padding: Padding,
    /// Leave the items of the history that are done with ([`Split::done`]) out of the ranking.
    pub mask_history: bool,
    pub reads: Reads,
    /// What the features come from, where some are read.
    pub features: Option<Arc<Features>>,
    /// Rank the target among this number of sampled negatives, drawn from this seed, instead of all items.
    pub sampled: Option<(usize, u64)>,
    /// Rank the target among the targets of a group of this number of users, drawn from this seed, instead of all items.
    pub grouped: Option<(usize, u64)>,
    /// Keep targets that no item outside the history competes with: the history is ranked too.
    pub keep_all: bool,
    /// Background threads; 0 makes each batch when it is asked for.
    pub threads: usize,
}

impl Default for EvalSpec {
    /// Windows padded on the left, ranked among all items outside the history; made when asked for.
    fn default() -> EvalSpec {
        EvalSpec {
            batch: 256,
            max_len: 50,
            padding: Padding::Left,
            mask_history: true,
            reads: Reads::default(),
            features: None,
            sampled: None,
            grouped: None,
            keep_all: false,
            threads: 0,
        }
    }
}

/// The events of a user that are read: the first ones of the history, and one more, of another item, if `then` is given. That
/// one has the behaviour of the event before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    pub user: u32,
    pub events: u32,
    pub then: Option<u32>,
}

impl From<(u32, u32)> for Until {
    /// User and number of events.
    fn from((user, events): (u32, u32)) -> Until {
        Until { user, events, then: None }
    }
}

/// An evaluation batch; the last one is filled with empty rows.
#[derive(Clone, Debug)]
pub struct EvalBatch {
    /// Histories before the targets, as a model reads them ([`History`]).
    pub columns: Columns,
    /// Number of each row in the list of targets: \[B\].
    pub targets: Vec<u32>,
    /// Users: \[B\].
    pub users: Vec<u32>,
    /// The item to find: \[B\]; 0 when recommending.
    pub target: Vec<u32>,
    /// Row r excludes `exclude_items[exclude_offsets[r]..exclude_offsets[r + 1]]`: \[B + 1\].
    pub exclude_offsets: Vec<u32>,
    /// Per row, ascending and distinct: the target and, if masked, the items before it; then zeros: \[exclude_cap\].
    pub exclude_items: Vec<u32>,
    /// The target, then the negatives, filled up with 0: \[B, 1 + N\]; none when all items are ranked.
    pub candidates: Option<Vec<u32>>,
    /// Rows that do not only fill the batch.
    pub samples: usize,
}

impl EvalBatch {
    /// The items that a row excludes, ascending.
    pub fn excluded(&self, row: usize) -> &[u32] {
        &self.exclude_items[self.exclude_offsets[row] as usize..self.exclude_offsets[row + 1] as usize]
    }
}

impl EvalBatch {
    /// Without rows.
    pub(super) fn empty(columns: Arc<[Column]>) -> EvalBatch {
        EvalBatch {
            columns: Columns::empty(columns),
            targets: vec![],
            users: vec![],
            target: vec![],
            exclude_offsets: vec![0],
            exclude_items: vec![],
            candidates: None,
            samples: 0,
        }
    }

    /// Adds a row; `excluded` in any order.
    pub(super) fn push(&mut self, history: &Filler, sample: &Sample, target: u32, excluded: &mut Vec<u32>) {
        // Nothing of a history is random.
        history.fill(sample, self.samples, self.columns.values_mut(), &mut Stream::new(0, "", 0));
        self.targets.push(sample.number as u32);
        self.users.push(sample.user);
        self.target.push(target);
        excluded.sort_unstable();
        excluded.dedup();
        self.exclude_items.extend_from_slice(excluded);
        self.exclude_offsets.push(self.exclude_items.len() as u32);
        self.samples += 1;
    }

    /// Fills up to `batch` rows.
    pub(super) fn fill(&mut self, batch: usize, exclude_cap: usize) {
        self.exclude_offsets.resize(batch + 1, self.exclude_items.len() as u32);
        self.exclude_items.resize(exclude_cap, 0);
        for list in [&mut self.targets, &mut self.users, &mut self.target] {
            list.resize(batch, 0);
        }
    }
}

/// What is asked for, or users to recommend to, in batches.
#[derive(Clone)]
pub struct EvalBatches(Arc<Evaluation>);

struct Evaluation {
    data: Arc<Dataset>,
    split: Arc<Split>,
    spec: EvalSpec,
    /// User, and length of the history.
    targets: Vec<(u32, u32)>,
    /// The item that follows each of these histories, if one does; empty when evaluating.
    then: Vec<Option<u32>>,
    /// What is to be found after each, by user; None when recommending.
    items: Option<Vec<u32>>,
    /// Of the targets, where each is ranked among those of its group.
    groups: Option<Groups>,
    left_out: LeftOut,
    exclude_cap: usize,
    columns: Arc<[Column]>,
    history: Filler,
}

impl EvalBatches {
    /// The targets of a part, or items that are listed. A target is left out if no item, or fewer than are sampled, compete
    /// with it: its rank would say nothing.
    ///
    /// # Errors
    /// A batch or window of length 0; nothing to evaluate, or nothing that can be ranked.
    pub fn new<'a>(
        data: Arc<Dataset>,
        split: Arc<Split>,
        ask: impl Into<Ask<'a>>,
        spec: EvalSpec,
    ) -> Result<EvalBatches> {
        let Rankable { targets, items, left_out } = Rankable::asked(&data, &split, ask.into(), &spec)?;
        EvalBatches::build(data, split, (targets, vec![]), Some((items, left_out)), spec)
    }

    /// The errors of [`EvalBatches::new`] about what is asked for.
    pub fn check<'a>(data: &Dataset, split: &Split, ask: impl Into<Ask<'a>>, spec: &EvalSpec) -> Result<()> {
        Rankable::asked(data, split, ask.into(), spec).map(drop)
    }

    /// Windows of the ends of histories. Events that are done with ([`Split::done`]) are excluded if `spec.mask_history`, and so is
    /// an item that follows them. There are no targets.
    ///
    /// # Errors
    /// A batch or window of length 0.
    pub fn recommend(
        data: Arc<Dataset>,
        split: Arc<Split>,
        histories: impl IntoIterator<Item = impl Into<Until>>,
        spec: EvalSpec,
    ) -> Result<EvalBatches> {
        let histories = histories.into_iter().map(Into::into);
        let histories = histories.map(|Until { user, events, then }| ((user, events), then)).unzip();
        EvalBatches::build(data, split, histories, None, EvalSpec { sampled: None, grouped: None, ..spec })
    }

    fn build(
        data: Arc<Dataset>,
        split: Arc<Split>,
        (targets, then): (Vec<(u32, u32)>, Vec<Option<u32>>),
        asked: Option<(Vec<u32>, LeftOut)>,
        spec: EvalSpec,
    ) -> Result<EvalBatches> {
        positive("eval.batch", spec.batch)?;
        positive("data.max_len", spec.max_len)?;
        let most = |rows: &[(u32, u32)]| {
            rows.iter().map(|&(_, len)| if spec.mask_history { len as usize + 1 } else { 1 }).sum::<usize>()
        };
        let exclude_cap = targets.chunks(spec.batch).map(most).max().unwrap_or(0).max(1);
        let (items, left_out) = asked.unzip();
        let left_out = left_out.unwrap_or_default();
        let history = History { reads: spec.reads, features: spec.features.clone() };
        let sizes = Sizes { batch: spec.batch, max_len: spec.max_len, targets: 0, padding: spec.padding };
        let (columns, history) = (history.columns(&sizes).into(), history.filler(&sizes)?);
        let groups = items.as_deref().zip(spec.grouped).map(|(items, (users, seed))| Groups::new(items, users, seed));
        let all =
            Evaluation { data, split, spec, targets, then, items, groups, left_out, exclude_cap, columns, history };
        Ok(EvalBatches(Arc::new(all)))
    }

    /// User and length of the history of every target.
    pub fn targets(&self) -> &[(u32, u32)] {
        &self.0.targets
    }

    /// The number of items, or of classes, that compete for a user.
    pub fn competing(&self, user: u32) -> usize {
        self.0.split.competing(&self.0.data, user)
    }

    /// What is asked for and not ranked.
    pub fn left_out(&self) -> LeftOut {
        self.0.left_out
    }

    pub fn steps(&self) -> usize {
        self.0.targets.len().div_ceil(self.0.spec.batch)
    }

    /// Length of `exclude_items` in every batch.
    pub fn exclude_cap(&self) -> usize {
        self.0.exclude_cap
    }

    /// All batches, in order.
    pub fn batches(&self) -> Ordered<EvalBatch> {
        let all = self.clone();
        Ordered::new(self.0.spec.threads, 0..self.steps(), move || {
            let all = all.clone();
            let items = all.0.split.classes(&all.0.data);
            let mut candidates = all.0.spec.sampled.map(|(negatives, seed)| Candidates::new(items, negatives, seed));
            move |step| all.make(step, candidates.as_mut())
        })
    }

    fn make(&self, step: usize, mut candidates: Option<&mut Candidates>) -> EvalBatch {
        let Evaluation { data, split, spec, targets, then, items, groups, exclude_cap, columns, history, .. } =
            &*self.0;
        let first = step * spec.batch;
        let rows = &targets[first..targets.len().min(first + spec.batch)];
        let mut batch = EvalBatch::empty(columns.clone());
        batch.candidates = (candidates.is_some() || groups.is_some()).then(Vec::new);
        let mut excluded = vec![];
        for (row, &(user, len)) in rows.iter().enumerate() {
            let len = len as usize;
            let target = items.as_ref().map_or(0, |items| items[first + row]);
            let then = then.get(first + row).copied().flatten();
            let own = (&data.history(user)[..len], data.behaviours(user).map_or(&[][..], |own| &own[..len]));
            let longer = then.map(|item| {
                let behaviours: Vec<u8> = own.1.iter().chain(own.1.last()).copied().collect();
                ([own.0, &[item]].concat(), behaviours)
            });
            let (read, behaviours) = longer.as_ref().map_or(own, |(read, behaviours)| (read, behaviours));
            let sample = Sample {
                number: (first + row) as u64,
                user,
                items: read,
                behaviours,
                read: read.len().saturating_sub(spec.max_len)..read.len(),
                before: read.len(),
                targets: &[],
                hidden: None,
            };
            excluded.clear();
            excluded.extend(Some(target).filter(|&target| target != 0));
            if spec.mask_history {
                excluded.extend(split.done(data, user, len).chain(then));
            }
            batch.push(history, &sample, target, &mut excluded);
            if let (Some(out), Some(candidates), Some(items)) =
                (&mut batch.candidates, candidates.as_deref_mut(), items)
            {
                out.push(target);
                candidates.draw(data, split, (user, asked_of(user, targets, items)), out);
            }
            if let (Some(out), Some(groups)) = (&mut batch.candidates, groups) {
                out.push(target);
                out.extend(groups.of(first + row).iter().copied().filter(|&other| other != target));
                out.resize((row + 1) * groups.candidates(), 0);
            }
        }
        batch.fill(spec.batch, *exclude_cap);
        let width = spec.sampled.map(|(negatives, _)| 1 + negatives).or(groups.as_ref().map(Groups::candidates));
        if let (Some(out), Some(width)) = (&mut batch.candidates, width) {
            out.resize(spec.batch * width, 0);
        }
        batch
    }
}

/// Targets in groups of about one size, drawn at random: the targets of a group are ranked among each other.
struct Groups {
    /// Users of a group.
    size: usize,
    /// The group of each target.
    of: Vec<u32>,
    /// The distinct targets of each group, ascending.
    items: Vec<Vec<u32>>,
}

impl Groups {
    fn new(items: &[u32], size: usize, seed: u64) -> Groups {
        let number = |at: usize| Stream::new(seed, "groups of targets", at as u64).uniform();
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by(|&a, &b| number(a).total_cmp(&number(b)).then(a.cmp(&b)));
        let mut groups = Groups { size, of: vec![0; items.len()], items: vec![] };
        for (number, members) in order.chunks(size).enumerate() {
            members.iter().for_each(|&at| groups.of[at] = number as u32);
            let mut own: Vec<u32> = members.iter().map(|&at| items[at]).collect();
            own.sort_unstable();
            own.dedup();
            groups.items.push(own);
        }
        groups
    }

    /// The distinct targets of the group of target number `at`.
    fn of(&self, at: usize) -> &[u32] {
        &self.items[self.of[at] as usize]
    }

    /// Candidates of a row, the target's own place included.
    fn candidates(&self) -> usize {
        1 + self.size
    }
}

/// Targets that at least one item, or as many as are sampled, compete with; and the item of each.
struct Rankable {
    targets: Vec<(u32, u32)>,
    items: Vec<u32>,
    left_out: LeftOut,
}

impl Rankable {
    /// Those of what is asked for.
    fn asked(data: &Dataset, split: &Split, ask: Ask, spec: &EvalSpec) -> Result<Rankable> {
        let targets = ask.targets(data, split);
        if targets.is_empty() {
            return Err(Error::Usage(format!("nothing to evaluate: {}", split.describe(data))));
        }
        let items = ask.items(data, split, &targets);
        if spec.keep_all {
            return Ok(Rankable { targets, items, left_out: LeftOut::default() });
        }
        Rankable::of(data, split, (&targets, &items), spec.sampled.map(|(n, _)| n))
    }

    /// Those of `targets` and their `items`, by user.
    fn of(
        data: &Dataset,
        split: &Split,
        (targets, items): (&[(u32, u32)], &[u32]),
        sampled: Option<usize>,
    ) -> Result<Rankable> {
        let needed = sampled.unwrap_or(1);
        let left_out = LeftOut { needed, ..LeftOut::default() };
        let mut kept = Rankable { targets: vec![], items: vec![], left_out };
        let (mut marks, mut most) = (Marks::new(split.classes(data)), 0);
        // Most users are far from having everything: that their events are too few says so.
        let mut enough = |user: u32, events: usize, taken: &mut dyn Iterator<Item = u32>| {
            let competing = split.competing(data, user);
            let others = split.classes(data) - competing;
            let left = if events + needed <= competing { needed } else { marks.set(taken) - others };
            most = most.max(left);
            left >= needed
        };
        let mut first = 0;
        for own in targets.chunk_by(|a, b| a.0 == b.0) {
            let (user, asked) = (own[0].0, &items[first..first + own.len()]);
            first += own.len();
            let of_user = sampled
                .map(|_| enough(user, split.known(data, user) + asked.len(), &mut taken(data, split, (user, asked))));
            let before = kept.targets.len();
            for (&(user, events), &item) in own.iter().zip(asked) {
                let len = events as usize;
                if of_user.unwrap_or_else(|| enough(user, len + 1, &mut split.done(data, user, len).chain([item]))) {
                    kept.targets.push((user, events));
                    kept.items.push(item);
                }
            }
            kept.left_out.add(own.len() - (kept.targets.len() - before));
        }
        if !kept.targets.is_empty() {
            return Ok(kept);
        }
        let all = split.classes(data);
        Err(Error::Usage(match sampled {
            Some(n) if most > 0 => format!(
                "sampled:{n} needs {n} items outside each user's history, but no user leaves more than {most} of {all}: use \
                 full, or sampled:{most} or less"
            ),
            _ => format!("nothing to rank: the users that are asked about have each of the {all} items"),
        }))
    }
}

/// What is asked for of a user, of targets and their items, which are by user.
fn asked_of<'a>(user: u32, targets: &[(u32, u32)], items: &'a [u32]) -> &'a [u32] {
    &items[targets.partition_point(|t| t.0 < user)..targets.partition_point(|t| t.0 <= user)]
}
