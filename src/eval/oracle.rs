//! The best that any model can do on the embedded world: ranking by the exact probabilities of the next click.

use super::evaluator::Ranked;
use super::metrics::TieRule;
use crate::data::Dataset;
use crate::data::synth::Domain;
use rayon::prelude::*;

/// Ranks of `targets`, (user, events before it), among all items of `data`, the clicks of `world`, by the world's own
/// probabilities. It never repeats an item for a user, so that whether the history is masked makes no difference.
pub fn rank(world: &Domain, data: &Dataset, targets: &[(u32, u32)], ties: TieRule) -> Ranked {
    let number = |name: &str| name.parse::<u32>().expect("ids of the world are numbers");
    let items: Vec<usize> = (1..=data.items() as u32).map(|item| number(data.item_name(item)) as usize - 1).collect();
    let count = |&(user, events): &(u32, u32)| {
        let scores = world.oracle_scores(number(data.user_name(user)), events as usize).expect("the click was drawn");
        let item = data.history(user)[events as usize];
        let target = scores[items[item as usize - 1]];
        let greater = items.iter().filter(|&&i| scores[i] > target).count();
        let equal = items.iter().filter(|&&i| scores[i] == target).count() - 1;
        (greater as u32, equal as u32)
    };
    let counts: Vec<(u32, u32)> = targets.par_iter().map(count).collect();
    let ranks = counts.iter().map(|&(greater, equal)| ties.rank(greater, equal)).collect();
    Ranked { targets: targets.to_vec(), counts, ranks, full: None }
}
