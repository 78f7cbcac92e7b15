//! Batches of a small world.

use super::list::{B, BEHAVIOURS, FEATURES, ITEMS, M, USERS};
use super::{Subject, config};
use wgrec::data::samples::{Batch, Columns, hidden};
use wgrec::models::Views;
use wgrec::tensor::philox::Stream;

/// Batch number `n` of a small world in which the next item follows from the last one, so that there is something to learn.
pub fn batch(subject: &Subject, n: u64) -> Batch {
    let spec = config(subject.kind, false).batches(&*subject.model);
    let mut columns = Columns::empty(spec.columns().into());
    let (mut r, targets) = (Stream::new(7, "batch", n), spec.sizes().targets);
    let (mut history, mut recency) = (vec![0; B * M], vec![0; B * M]);
    let (mut positive, mut positions, mut negative) = (vec![0; B * targets], vec![M as u32; B * targets], vec![]);
    for row in 0..B {
        let window = spec.padding.place(1 + r.below(M as u32) as usize, M);
        let (mut item, mut found) = (1 + r.below(ITEMS as u32), 0);
        for i in window.clone() {
            history[row * M + i] = item;
            recency[row * M + i] = (window.end - i) as u32;
            let this = item;
            item = 1 + (item * 7 + r.below(2)) % ITEMS as u32;
            if !spec.samples.hides() {
                positive[row * targets + i % targets] = item;
            } else if found < targets && (i % 2 == 1 || window.len() == 1) {
                positive[row * targets + found] = this;
                positions[row * targets + found] = i as u32;
                history[row * M + i] = hidden(ITEMS);
                found += 1;
            }
        }
        (0..targets).for_each(|_| negative.push(1 + r.below(ITEMS as u32)));
    }
    let mut weight: Vec<f32> = positive.iter().map(|&item| if item == 0 { 0.0 } else { 1.0 }).collect();
    // The last batch of an epoch is short.
    if n % 5 == 4 {
        weight[(B - 3) * targets..].fill(0.0);
    }
    let mut write = |name: &str, values: Vec<u32>| {
        if columns.has(name) {
            columns.get_mut(name).u32().copy_from_slice(&values);
        }
    };
    let mut r = Stream::new(7, "besides", n);
    let (mut behaviours, known) = (vec![0; B * M], BEHAVIOURS as u32);
    if subject.model.reads().behaviours {
        behaviours = history.iter().map(|&item| (item != 0) as u32 * (1 + r.below(known))).collect();
        let own: Vec<u32> = positive.iter().map(|_| 1 + r.below(known)).collect();
        write("negative_behaviour", own.iter().map(|&own| 1 + (own + r.below(known - 1)) % known).collect());
        write("positive_behaviour", own);
        write("behaviours", behaviours.clone());
    }
    // Features are told apart by the ranges of their rows; row 0 is padding, which has no gradient.
    let features = subject.model.reads().features;
    if let Some(each) = (FEATURES.rows - 1).checked_div(features) {
        let each = each as u32;
        write("features", (0..B * features).map(|i| 1 + (i % features) as u32 * each + r.below(each)).collect());
    }
    write("users", (0..B).map(|_| 1 + r.below(USERS as u32)).collect());
    views(subject, n, [&history, &recency, &behaviours], &weight, &mut write);
    write("history", history);
    write("recency", recency);
    write("positive", positive);
    write("positions", positions);
    write("negative", negative);
    columns.get_mut("weight").f32().copy_from_slice(&weight);
    Batch::new(columns, B, &spec.gathered)
}

/// Views of each window: what stands there with some events hidden, others each time; the third is of the next window.
/// Windows that only fill the batch have none.
fn views(
    subject: &Subject,
    n: u64,
    [history, recency, behaviours]: [&[u32]; 3],
    weight: &[f32],
    write: &mut dyn FnMut(&str, Vec<u32>),
) {
    let (count, mut r) = (subject.model.views().map_or(0, Views::count), Stream::new(7, "views", n));
    let targets = weight.len() / B;
    let mut views = [vec![], vec![], vec![]];
    for (row, of) in (0..count * B).map(|view| (view % B, (view % B + view / (2 * B)) % B)) {
        let real = weight[row * targets..(row + 1) * targets].iter().any(|&weight| weight > 0.0);
        for at in of * M..(of + 1) * M {
            let hides = subject.model.hides() && history[at] != 0 && r.below(3) == 0;
            let (item, behaviour) = if hides { (hidden(ITEMS), 0) } else { (history[at], behaviours[at]) };
            for (view, value) in views.iter_mut().zip([item, recency[at], behaviour]) {
                view.push(if real { value } else { 0 });
            }
        }
    }
    if count > 0 {
        for (name, view) in ["views.history", "views.recency", "views.behaviours"].into_iter().zip(views) {
            write(name, view);
        }
        write("views.changed_texts", (0..(count * B) as u32).map(|view| view % 2).collect());
    }
}
