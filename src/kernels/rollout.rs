//! The roll-out of RDRSR's allocator (equations 9 to 12 of its paper): event after event, a policy says which interest takes it.
//!
//! Interest j is represented by a mean p_j of the sources that it has taken: source 0, the user, at the start, and source s, the event
//! of step s - 1, once that step has given it to j. At step t, with an event x_t,
//!
//! alpha_j = softmax_j(p_j . x_t), c = sum_j alpha_j p_j, logits = ReLU(c A + own_t) W + noise_t,
//!
//! and the event goes to the interest with the largest logit. Means, the attention alpha and c A are all sums over sources, so that the
//! kernels take the products of events with sources, and A times each source, and never see a source itself.

use super::example::{Example, Fill, Scale, UNIT};
use super::fast::wide;
use super::launch::{group_size, turns_of};
use super::matmul::dot;
use super::parallel::{par_blocks, par_rows};
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::{Error, Result};
use crate::tensor::Shape;
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// What the representation of an interest is, when it takes an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "train", derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema))]
#[cfg_attr(feature = "train", serde(rename_all = "lowercase"))]
pub enum Pooling {
    /// The mean of what it was and the event: later events count more.
    #[default]
    Halving,
    /// The mean of the user and all events that it has taken.
    Running,
}

/// The interest that takes the event of each step.
///
/// Inputs: products of each step's event with the sources \[B, T, S\]; values, A times each source \[B, S, W\]; own \[B, T, W\]; weight
/// \[K, W\]; noise \[B, T, K\], with the bias of the logits; allowed \[B, T, K\], 1 where an interest may take the event of a step and 0
/// where not: a factor of its share. S is T + 1 at most: the steps after the last source move nothing.
/// Output: actions \[B, T\] u32, the first of the largest logits; K where no interest may take the event. No gradient.
#[derive(Debug, Clone, Copy)]
pub struct Rollout {
    pub pooling: Pooling,
}

/// What the policy sees at each step, for given actions.
///
/// Inputs: products, values and allowed as in [`Rollout`], actions \[B, T\]. Outputs: context \[B, T, W\], c A at each step, 0 where no
/// interest is allowed; attention \[B, T, K\], alpha; mix \[B, K, S\], the weights of the sources in each interest after the last step.
/// Only the context has a gradient, by products and values.
#[derive(Debug, Clone, Copy)]
pub struct RolloutContext {
    pub pooling: Pooling,
}

/// The gradients of [`RolloutContext`] by products and values, from its attention and the gradient of its context.
#[derive(Debug, Clone, Copy)]
pub struct RolloutContextBackward {
    pub pooling: Pooling,
}

/// The weights of the sources in the interests, as far as the roll-out has come.
struct Weights<T> {
    pooling: Pooling,
    /// Of source 0 in each interest.
    user: Vec<T>,
    /// Of each later source in the interest that took it.
    events: Vec<T>,
    /// That interest; K: none.
    taken: Vec<usize>,
    /// Sources of each interest.
    count: Vec<usize>,
}

impl<T: Real> Weights<T> {
    fn new(pooling: Pooling, [k, s]: [usize; 2]) -> Weights<T> {
        Weights { pooling, user: vec![T::ONE; k], events: vec![T::ZERO; s], taken: vec![k; s], count: vec![1; k] }
    }

    /// Interest `action` takes the event of step `t`.
    #[inline(always)]
    fn take(&mut self, t: usize, action: usize) {
        let source = t + 1;
        if action >= self.user.len() || source >= self.events.len() {
            return;
        }
        let new = match self.pooling {
            Pooling::Halving => T::of(0.5),
            Pooling::Running => T::ONE / T::of((self.count[action] + 1) as f64),
        };
        let old = T::ONE - new;
        self.user[action] *= old;
        for (weight, &taken) in self.events[1..source].iter_mut().zip(&self.taken[1..]) {
            *weight *= if taken == action { old } else { T::ONE };
        }
        (self.events[source], self.taken[source]) = (new, action);
        self.count[action] += 1;
    }

    /// The sources that interests have taken by step `t`, with their weights and interests.
    #[inline(always)]
    fn known(&self, t: usize) -> impl Iterator<Item = (usize, T, usize)> + '_ {
        let last = (t + 1).min(self.events.len());
        let all = (1..last).map(|s| (s, self.events[s], self.taken[s]));
        all.filter(|&(_, _, taken)| taken < self.user.len())
    }

    /// The mean over its sources of `x` \[S\] in each interest at step `t`.
    #[inline(always)]
    fn means(&self, t: usize, x: &[T], means: &mut [T]) {
        means.iter_mut().zip(&self.user).for_each(|(mean, &user)| *mean = user * x[0]);
        self.known(t).for_each(|(s, weight, taken)| means[taken] += weight * x[s]);
    }

    /// The weight of each source in the context of step `t`, by the attention to the interests.
    #[inline(always)]
    fn shares(&self, t: usize, attention: &[T], shares: &mut [T]) {
        shares.fill(T::ZERO);
        shares[0] = dot(&self.user, attention);
        self.known(t).for_each(|(s, weight, taken)| shares[s] = weight * attention[taken]);
    }
}

/// Softmax of `x` in place among the `allowed`; zeros where there are none.
#[inline(always)]
fn masked_softmax<T: Real>(x: &mut [T], allowed: &[T]) {
    let most =
        x.iter().zip(allowed).filter(|(_, a)| **a != T::ZERO).fold(T::of(f64::NEG_INFINITY), |m, (&x, _)| m.max(x));
    let mut total = T::ZERO;
    for (x, &allowed) in x.iter_mut().zip(allowed) {
        *x = if allowed != T::ZERO { (*x - most).exp() * allowed } else { T::ZERO };
        total += *x;
    }
    if total != T::ZERO {
        x.iter_mut().for_each(|x| *x = *x / total);
    }
}

/// y += factor x.
#[inline(always)]
fn add_scaled<T: Real>(y: &mut [T], factor: T, x: &[T]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += factor * x);
}

/// Extents of a roll-out.
#[derive(Clone, Copy)]
struct Dims {
    batch: usize,
    steps: usize,
    sources: usize,
    width: usize,
    interests: usize,
}

impl Dims {
    /// From values \[B, S, W\] and what interests have at each step, \[B, T, K\].
    fn of(values: &Shape, interests: &Shape) -> Dims {
        let [batch, sources, width] = [0, 1, 2].map(|axis| values[axis]);
        Dims { batch, steps: interests[1], sources, width, interests: interests[2] }
    }

    /// Products of numbers in a row.
    fn work(&self) -> usize {
        self.steps * (self.sources + self.interests) * (self.width + self.interests)
    }

    /// The entries of one row, `each` of them.
    fn row<T>(x: &[T], row: usize, each: usize) -> &[T] {
        &x[row * each..][..each]
    }
}

fn check(x: &Inputs) -> Result<()> {
    let [t, s, w, k] = ["t", "s", "w", "k"].map(|axis| x.extent(axis));
    match () {
        _ if t * s * w * k == 0 => x.fail("no steps, no sources, no width or no interests"),
        _ if s > t + 1 => x.fail(format!("{s} sources are more than the user and one for each of {t} steps")),
        _ => Ok(()),
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    batch: u32,
    t: u32,
}

/// A workgroup a row.
fn launch(entry: &'static str, d: &Dims, pooling: Pooling, caps: &Caps) -> Result<Vec<Launch>> {
    let Dims { batch, steps, sources, width, interests } = *d;
    let bytes = 4 * (3 * sources + 4 * interests + width);
    if bytes > caps.workgroup_bytes as usize {
        return Err(Error::Device(format!(
            "rollout {entry}: {sources} sources, {interests} interests and a policy of width {width} take {bytes} bytes of \
             workgroup memory and this adapter has {}; lower data.max_len, model.interests or model.policy_dim, or use --device cpu",
            caps.workgroup_bytes
        )));
    }
    let size = group_size(width.max(sources), caps);
    let [by_source, by_interest, by_column] = [sources, interests, width].map(|n| n.div_ceil(size));
    let [of_sources, of_interests, of_columns] = [sources, interests, width].map(|n| turns_of(n, 0));
    // What an entry point does in a step is among these, once each.
    let step = turns_of(by_interest, of_sources)
        + turns_of(by_interest, 2 * of_interests)
        + turns_of(by_interest, of_columns)
        + turns_of(by_column, of_interests + of_sources)
        + turns_of(by_source, of_columns)
        + turns_of(by_source, of_interests)
        + turns_of(by_source, 0)
        + of_interests;
    let before = turns_of(by_interest, 0) + turns_of(by_source, 0) + turns_of(by_column, of_sources);
    let turns = before + turns_of(steps, step) + turns_of(by_source, of_interests);
    let constants =
        [("S", sources), ("K", interests), ("W", width), ("RUNNING", (pooling == Pooling::Running) as usize)];
    let launch = Launch::of("rollout", entry).params(Params { batch: batch as u32, t: steps as u32 }).turns(turns);
    let launch = constants.into_iter().fold(launch, |launch, (name, value)| launch.constant(name, value as u32));
    Ok(vec![launch.groups(batch, size, caps)?])
}

impl Rollout {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let [products, values, own] = ["products", "values", "own"].map(|name| a.f(name));
        let [weight, noise, allowed] = ["weight", "noise", "allowed"].map(|name| a.f(name));
        let d = Dims::of(a.shape("values"), a.shape("allowed"));
        let Dims { steps, sources, width, interests: k, .. } = d;
        par_rows(a.out_u("actions"), steps, d.work(), |b, actions| {
            let [products, values] =
                [(products, steps * sources), (values, sources * width)].map(|(x, n)| Dims::row(x, b, n));
            let mut weights = Weights::<T>::new(self.pooling, [k, sources]);
            let (mut attention, mut shares) = (vec![T::ZERO; k], vec![T::ZERO; sources]);
            let (mut hidden, mut logits) = (vec![T::ZERO; width], vec![T::ZERO; k]);
            wide(
                #[inline(always)]
                || {
                    for (t, action) in actions.iter_mut().enumerate() {
                        let at = b * steps + t;
                        let (allowed, noise) = (Dims::row(allowed, at, k), Dims::row(noise, at, k));
                        weights.means(t, Dims::row(products, t, sources), &mut attention);
                        masked_softmax(&mut attention, allowed);
                        weights.shares(t, &attention, &mut shares);
                        hidden.copy_from_slice(Dims::row(own, at, width));
                        for (s, &share) in shares.iter().enumerate().filter(|(_, share)| **share != T::ZERO) {
                            add_scaled(&mut hidden, share, Dims::row(values, s, width));
                        }
                        hidden.iter_mut().for_each(|y| *y = if *y < T::ZERO { T::ZERO } else { *y });
                        for ((logit, &noise), weight) in logits.iter_mut().zip(noise).zip(weight.chunks_exact(width)) {
                            *logit = noise + dot(&hidden, weight);
                        }
                        let mut best = k;
                        for j in (0..k).filter(|&j| allowed[j] != T::ZERO) {
                            if best == k || logits[j] > logits[best] {
                                best = j;
                            }
                        }
                        *action = best as u32;
                        weights.take(t, best);
                    }
                },
            );
        });
    }
}

impl Op for Rollout {
    fn name(&self) -> &'static str {
        "rollout"
    }

    fn operands(&self) -> Operands {
        let operands = Operands::new().f32("products", "b t s").f32("values", "b s w").f32("own", "b t w");
        operands.f32("weight", "k w").f32("noise", "b t k").f32("allowed", "b t k").out_u32("actions", "b t")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        check(x)?;
        Ok(x.declared())
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::none())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("choose", &Dims::of(s.input("values"), s.input("allowed")), self.pooling, caps)
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("products")[0], ["products", "values", "own", "noise", "allowed"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let d = Dims::of(s.input("values"), s.input("allowed"));
        Cost { bytes: s.bytes(), flops: 2 * (d.batch * d.work()) as u64 }
    }
}

impl RolloutContext {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let [products, values, allowed] = ["products", "values", "allowed"].map(|name| a.f(name));
        let actions = a.u("taken");
        let d = Dims::of(a.shape("values"), a.shape("allowed"));
        let Dims { steps, sources, width, interests: k, .. } = d;
        let outputs = [("context", steps * width), ("attention", steps * k), ("mix", k * sources)];
        par_blocks(outputs.map(|(name, each)| (a.out(name), each)), d.work(), |b, [context, attention, mix]| {
            let [products, values] =
                [(products, steps * sources), (values, sources * width)].map(|(x, n)| Dims::row(x, b, n));
            let mut weights = Weights::<T>::new(self.pooling, [k, sources]);
            let mut shares = vec![T::ZERO; sources];
            wide(
                #[inline(always)]
                || {
                    for (t, (context, attention)) in
                        context.chunks_exact_mut(width).zip(attention.chunks_exact_mut(k)).enumerate()
                    {
                        let at = b * steps + t;
                        weights.means(t, Dims::row(products, t, sources), attention);
                        masked_softmax(attention, Dims::row(allowed, at, k));
                        weights.shares(t, attention, &mut shares);
                        context.fill(T::ZERO);
                        for (s, &share) in shares.iter().enumerate().filter(|(_, share)| **share != T::ZERO) {
                            add_scaled(context, share, Dims::row(values, s, width));
                        }
                        weights.take(t, actions[at] as usize);
                    }
                },
            );
            mix.fill(T::ZERO);
            weights.user.iter().enumerate().for_each(|(j, &weight)| mix[j * sources] = weight);
            weights.known(steps).for_each(|(s, weight, taken)| mix[taken * sources + s] = weight);
        });
    }
}

impl Op for RolloutContext {
    fn name(&self) -> &'static str {
        "rollout context"
    }

    fn operands(&self) -> Operands {
        let inputs =
            Operands::new().f32("products", "b t s").f32("values", "b s w").f32("allowed", "b t k").u32("taken", "b t");
        inputs.out_f32("context", "b t w").out_f32("attention", "b t k").out_f32("mix", "b k s")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        check(x)?;
        Ok(x.declared())
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        if node.grad("attention").is_some() || node.grad("mix").is_some() {
            return Ok(Grads::not_differentiable());
        }
        let (values, taken) = (node.input("values"), node.input("taken"));
        let inputs = [values, taken, node.output("attention"), node.dy("context")];
        let d = values.graph().try_push(RolloutContextBackward { pooling: self.pooling }, &inputs)?;
        Ok(Grads::to([("products", d[0]), ("values", d[1])]))
    }

    twin!();

    /// The attention: its gradient is made of differences.
    fn exact_outputs(&self) -> &[usize] {
        &[1]
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("context_of", &Dims::of(s.input("values"), s.input("allowed")), self.pooling, caps)
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let d = Dims::of(s.input("values"), s.input("allowed"));
        Cost { bytes: s.bytes(), flops: 2 * (d.batch * d.work()) as u64 }
    }
}

impl RolloutContextBackward {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let [values, attention, dcontext] = ["values", "alpha", "dcontext"].map(|name| a.f(name));
        let actions = a.u("taken");
        let d = Dims::of(a.shape("values"), a.shape("alpha"));
        let Dims { steps, sources, width, interests: k, .. } = d;
        let outputs = [("dproducts", steps * sources), ("dvalues", sources * width)];
        par_blocks(outputs.map(|(name, each)| (a.out(name), each)), 2 * d.work(), |b, [dproducts, dvalues]| {
            let values = Dims::row(values, b, sources * width);
            let mut weights = Weights::<T>::new(self.pooling, [k, sources]);
            let (mut shares, mut by_source) = (vec![T::ZERO; sources], vec![T::ZERO; sources]);
            let (mut by_interest, mut from_softmax) = (vec![T::ZERO; k], vec![T::ZERO; k]);
            dvalues.fill(T::ZERO);
            wide(
                #[inline(always)]
                || {
                    for (t, dproducts) in dproducts.chunks_exact_mut(sources).enumerate() {
                        let at = b * steps + t;
                        let (attention, dc) = (Dims::row(attention, at, k), Dims::row(dcontext, at, width));
                        weights.shares(t, attention, &mut shares);
                        for (s, by) in by_source.iter_mut().enumerate().take(t + 1) {
                            *by = dot(Dims::row(values, s, width), dc);
                            add_scaled(&mut dvalues[s * width..][..width], shares[s], dc);
                        }
                        weights.means(t, &by_source, &mut by_interest);
                        let mean = dot(attention, &by_interest);
                        for ((d, &alpha), &by) in from_softmax.iter_mut().zip(attention).zip(&by_interest) {
                            *d = alpha * (by - mean);
                        }
                        weights.shares(t, &from_softmax, dproducts);
                        weights.take(t, actions[at] as usize);
                    }
                },
            );
        });
    }
}

impl Op for RolloutContextBackward {
    fn name(&self) -> &'static str {
        "rollout context backward"
    }

    fn operands(&self) -> Operands {
        let inputs =
            Operands::new().f32("values", "b s w").u32("taken", "b t").f32("alpha", "b t k").f32("dcontext", "b t w");
        inputs.out_f32("dproducts", "b t s").out_f32("dvalues", "b s w")
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("backward", &Dims::of(s.input("values"), s.input("alpha")), self.pooling, caps)
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let d = Dims::of(s.input("values"), s.input("alpha"));
        Cost { bytes: s.bytes(), flops: 4 * (d.batch * d.work()) as u64 }
    }
}

/// A batch of windows of ten events and their targets, four interests: the actions, and what the policy sees by them, with its gradient.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, t, k, w] = scale.pick([2048, 11, 4, 64], [19, 7, 3, 50]);
    let s = t;
    let sizes = format!("{b}x{t}x{k}x{w}");
    let pooling = Pooling::Halving;
    let actions = Example::new("rollout", sizes.clone(), move |g, x| Ok(vec![g.push(Rollout { pooling }, x)]));
    let actions = actions.f32([b, t, s], UNIT).f32([b, s, w], UNIT).f32([b, t, w], UNIT).f32([k, w], UNIT);
    let actions = actions.f32([b, t, k], UNIT).f32([b, t, k], Fill::Ones);
    let context =
        Example::new("rollout context", sizes, move |g, x| Ok(vec![g.try_push(RolloutContext { pooling }, x)?[0]]));
    // Numbers from 1 on: some are no interest, and such a step moves nothing.
    let context = context.f32([b, t, s], UNIT).f32([b, s, w], UNIT).f32([b, t, k], Fill::Ones);
    let context = context.u32([b, t], Fill::Below(k as u32 + 1));
    [vec![actions], context.both(&[0, 1], &["rollout context backward"])].concat()
}
