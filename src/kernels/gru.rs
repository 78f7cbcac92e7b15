//! A gated recurrent unit (GRU) over a sequence: one kernel forward, one backward.

use super::example::{Example, Fill, Scale, UNIT};
use super::fast::wide;
use super::launch::turns_of;
use super::panel::{Product, Update};
use super::parallel::par_blocks;
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, fast};
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// The states of a GRU (Cho et al., EMNLP 2014, in PyTorch's form), from a state of zeros:
/// r = sigmoid(x_r + W_r h + b_r), z = sigmoid(x_z + W_z h + b_z), n = tanh(x_n + r (W_n h + b_n)), h <- (1 - z) n + z h.
///
/// `weighted`: each position has a weight, by which it updates the state, and z is the share of the new value and not of the old
/// one: h <- h + weight z (n - h). This is the recurrence of MCPRN (Wang et al., IJCAI 2019).
///
/// Inputs: x \[B, T, 3H\], the inputs' part of the gates r, z, n with its bias; the weight of the state \[H, 3H\] (PyTorch's
/// transposed) and its bias \[3H\]; keep \[B, T\], 0 = a position that keeps the state unchanged, or the weights.
/// Outputs: the states \[B, T, H\]; r, z, n and W_n h + b_n \[B, T, 4H\], for the backward pass alone.
#[derive(Debug, Clone, Copy)]
pub struct Gru {
    pub weighted: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    batch: u32,
    t: u32,
}

/// \[B, T, H\] as `states` is.
fn extents(states: &[usize]) -> [usize; 3] {
    [states[0], states[1], states[2]]
}

/// `bytes`: workgroup memory for each unit of the state. `gates`: that it sums over, each of as many units.
fn launch(
    entry: &'static str,
    weighted: bool,
    states: &[usize],
    bytes: usize,
    gates: usize,
    caps: &Caps,
) -> Result<Launch> {
    let [batch, t, h] = extents(states);
    let terms = gates * h;
    if h * bytes > caps.workgroup_bytes as usize {
        return Err(Error::Device(format!(
            "gru {entry}: a state of {h} takes {} bytes of workgroup memory and this adapter has {}; lower model.dim or \
             use --device cpu",
            h * bytes,
            caps.workgroup_bytes
        )));
    }
    let invocations = h.next_power_of_two().clamp(64, 1 << caps.max_invocations.min(256).ilog2());
    // An invocation goes through its units twice in each step, and for each of them the gates and a sum of `terms`.
    let of_one = |inner: usize| turns_of(h.div_ceil(invocations), inner);
    let turns = of_one(0) + turns_of(t, of_one(turns_of(3, 0)) + of_one(turns_of(terms, 0)));
    let launch = Launch::of("gru", entry).constant("H", h as u32).constant("WEIGHTED", weighted as u32);
    let launch = launch.params(Params { batch: batch as u32, t: t as u32 }).turns(turns);
    launch.groups(batch, invocations, caps)
}

/// Sequences that the fast forms take through a step together: one product for all. A tile that fits a cache holds too few of
/// them, so that neither form says how to split.
const BLOCK: usize = 32;

/// `y += a b` or, unless `add`, `y = a b`: y \[rows, n\] and b \[k, n\] contiguous, row r of a at `a[r a_row..]`.
fn product(c: &mut [f32], n: usize, add: bool, a: &[f32], a_row: usize, b: &[f32]) {
    let extents = [c.len() / n, n, b.len() / n];
    let update = if add { Update::Add } else { Update::Write };
    Product { extents, a, a_strides: [a_row, 1], b, b_row: n, c, c_row: n, update }.run();
}

fn sigmoid<T: Real>(x: T) -> T {
    let e = (-x.abs()).exp();
    if x < T::ZERO { e / (T::ONE + e) } else { T::ONE / (T::ONE + e) }
}

impl Gru {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (x, weight, bias, keep) = (a.f("x"), a.f("weight"), a.f("bias"), a.f("keep"));
        let [_, steps, h] = extents(a.out_shape("y"));
        par_blocks([(a.out("y"), steps * h), (a.out("saved"), 4 * steps * h)], 8 * steps * h * h, |b, [y, saved]| {
            let mut state = vec![T::ZERO; h];
            for t in 0..steps {
                let place = b * steps + t;
                for j in 0..h {
                    let sum = |gate: usize| {
                        let mut sum = bias[gate * h + j];
                        // The first state is 0, whatever the weight.
                        for k in (0..h).filter(|_| t > 0) {
                            sum += state[k] * weight[k * 3 * h + gate * h + j];
                        }
                        sum
                    };
                    let x = |gate: usize| x[place * 3 * h + gate * h + j];
                    let m = sum(2);
                    let r = sigmoid(x(0) + sum(0));
                    let z = sigmoid(x(1) + sum(1));
                    let n = (x(2) + r * m).tanh();
                    y[t * h + j] = match keep[place] {
                        weight if self.weighted => state[j] + weight * z * (n - state[j]),
                        keep if keep != T::ZERO => n + z * (state[j] - n),
                        _ => state[j],
                    };
                    for (i, value) in [r, z, n, m].into_iter().enumerate() {
                        saved[t * 4 * h + i * h + j] = value;
                    }
                }
                state.copy_from_slice(&y[t * h..][..h]);
            }
        });
    }
}

/// One step of one sequence, by a `weight` if it has one: r, z, n, m into `saved` and the new state into `y`, from the state and
/// its product with the state's weights. Short loops over few slices: one loop over all of them would not vectorise.
#[inline(always)]
fn step(x: &[f32], bias: &[f32], sums: &[f32], weight: Option<f32>, state: &[f32], y: &mut [f32], saved: &mut [f32]) {
    let h = y.len();
    let (rz, nm) = saved.split_at_mut(2 * h);
    for (((gate, x), sum), bias) in rz.iter_mut().zip(x).zip(sums).zip(bias) {
        *gate = fast::sigmoid(x + (sum + bias));
    }
    let ([r, z], [n, m]) = (parts(rz, h), parts_mut(nm, h));
    m.iter_mut().zip(&sums[2 * h..]).zip(&bias[2 * h..]).for_each(|((m, sum), bias)| *m = sum + bias);
    for (((n, x), r), m) in n.iter_mut().zip(&x[2 * h..]).zip(r).zip(m) {
        *n = fast::tanh(x + r * *m);
    }
    let each = y.iter_mut().zip(n).zip(z).zip(state);
    match weight {
        None => each.for_each(|(((y, n), z), state)| *y = *n + z * (state - *n)),
        Some(weight) => each.for_each(|(((y, n), z), state)| *y = state + weight * z * (*n - state)),
    }
}

/// The N parts of `h` elements that lie in `x` one after the other.
#[inline(always)]
fn parts<const N: usize>(x: &[f32], h: usize) -> [&[f32]; N] {
    std::array::from_fn(|i| &x[i * h..][..h])
}

#[inline(always)]
fn parts_mut<const N: usize>(x: &mut [f32], h: usize) -> [&mut [f32]; N] {
    let mut parts = x.chunks_exact_mut(h);
    std::array::from_fn(|_| parts.next().expect("there are N of them"))
}

impl Op for Gru {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("x", "b t 3h")
            .f32("weight", "h 3h")
            .f32("bias", "3h")
            .f32("keep", "b t")
            .out_f32("y", "b t h")
            .out_f32("saved", "b t 4h")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if x.extent("h") == 0 || x.extent("t") == 0 {
            return x.fail("no units or no steps");
        }
        Ok(x.declared())
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        if node.grad("saved").is_some() {
            return Ok(Grads::not_differentiable());
        }
        let (weight, keep) = (node.input("weight"), node.input("keep"));
        let (y, weighted) = (node.output("y"), self.weighted);
        let inputs = [weight.transpose(), keep, node.output("saved"), y, node.dy("y")];
        let d = weight.graph().try_push(GruBackward { weighted }, &inputs)?;
        let flat = |v: Var<'g>| v.reshape([v.shape().rows(), v.shape().last_dim()]);
        let dsums = flat(d[1]);
        let mut to = vec![("x", d[0])];
        if node.wants("weight") {
            let before = if weighted { before(y) } else { d[2] };
            to.push(("weight", flat(before).t_matmul(dsums)));
        }
        if weighted && node.wants("keep") {
            to.push(("keep", d[2].sum(2)));
        }
        if node.wants("bias") {
            to.push(("bias", dsums.sum(0)));
        }
        Ok(Grads::to(to))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let (x, weight, bias, keep) = (a.f("x"), a.f("weight"), a.f("bias"), a.f("keep"));
        let [_, steps, h] = extents(a.out_shape("y"));
        let lens = [steps * h * BLOCK, 4 * steps * h * BLOCK];
        let work = BLOCK * steps * h * h;
        par_blocks([(a.out("y"), lens[0]), (a.out("saved"), lens[1])], work, |block, [y, saved]| {
            let sequences = y.len() / (steps * h);
            let zeros = vec![0.0; h];
            let mut sums = vec![0.0; sequences * 3 * h];
            for t in 0..steps {
                if t > 0 {
                    product(&mut sums, 3 * h, false, &y[(t - 1) * h..], steps * h, weight);
                }
                wide(
                    #[inline(always)]
                    || {
                        for (s, sums) in sums.chunks_exact(3 * h).enumerate() {
                            let place = (block * BLOCK + s) * steps + t;
                            let (past, y) = y[s * steps * h..].split_at_mut(t * h);
                            let state = if t > 0 { &past[(t - 1) * h..] } else { &zeros };
                            let y = &mut y[..h];
                            let saved = &mut saved[(s * steps + t) * 4 * h..][..4 * h];
                            if self.weighted || keep[place] != 0.0 {
                                let (x, weight) = (&x[place * 3 * h..][..3 * h], self.weighted.then_some(keep[place]));
                                step(x, bias, sums, weight, state, y, saved);
                            } else {
                                y.copy_from_slice(state);
                                saved.fill(0.0);
                            }
                        }
                    },
                );
            }
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        Ok(vec![launch("forward", self.weighted, s.output("y"), 8, 1, caps)?])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: (s.input("x").elements() * (2 * s.output("y").last_dim() + 10)) as u64 }
    }
}

/// The state before each position, \[B, T, H\], of the states `y`.
fn before<'g>(y: Var<'g>) -> Var<'g> {
    let [b, t, h] = extents(&y.shape());
    let first = y.constant_like(0.0).expand([b, 1, h]);
    if t > 1 { y.graph().concat(1, &[first, y.slice(1, 0, t - 1)]) } else { first }
}

/// Inputs: the weight as PyTorch has it \[3H, H\], keep, both outputs of the forward pass, dy. Outputs: dx \[B, T, 3H\]; dsums
/// \[B, T, 3H\], the gradient of W h + b at each position; the state before each position \[B, T, H\], with which the gradient of
/// the weight is one product over all positions. If weighted, its place is taken by what each unit adds to the gradient of keep,
/// \[B, T, H\]: a launch binds no more buffers.
#[derive(Debug, Clone, Copy)]
pub struct GruBackward {
    pub weighted: bool,
}

impl GruBackward {
    /// The name of the third output.
    fn third(&self) -> &'static str {
        if self.weighted { "dkeep" } else { "before" }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (weight, keep, saved, y, dy) = (a.f("weight"), a.f("keep"), a.f("gates"), a.f("h"), a.f("dy"));
        let [_, steps, h] = extents(a.shape("h"));
        let [gates, states] = [3 * steps * h, steps * h];
        let outputs = [(a.out("dx"), gates), (a.out("dsums"), gates), (a.out(self.third()), states)];
        par_blocks(outputs, 8 * steps * h * h, |b, [dx, dsums, third]| {
            let mut carried = vec![T::ZERO; h];
            for t in (0..steps).rev() {
                let place = b * steps + t;
                for j in 0..h {
                    let state = if t > 0 { y[(place - 1) * h + j] } else { T::ZERO };
                    let [r, z, n, m] = [0, 1, 2, 3].map(|i| saved[place * 4 * h + i * h + j]);
                    let dh = dy[place * h + j] + carried[j];
                    // The shares of the new value and of the old one, the gradient by z, and what the third output has.
                    let (new, old, by_z, third_value) = match keep[place] {
                        weight if self.weighted => {
                            let new = weight * z;
                            (new, T::ONE - new, weight * (n - state), dh * z * (n - state))
                        }
                        _ => (T::ONE - z, z, state - n, state),
                    };
                    third[t * h + j] = third_value;
                    let dn = dh * new * (T::ONE - n * n);
                    let dz = dh * by_z * z * (T::ONE - z);
                    let dr = dn * m * r * (T::ONE - r);
                    let kept = self.weighted || keep[place] != T::ZERO;
                    let d = if kept { [(dr, dr), (dz, dz), (dn, dn * r)] } else { [(T::ZERO, T::ZERO); 3] };
                    for (gate, (d, dsum)) in d.into_iter().enumerate() {
                        dx[(t * 3 + gate) * h + j] = d;
                        dsums[(t * 3 + gate) * h + j] = dsum;
                    }
                    carried[j] = if kept { dh * old } else { dh };
                }
                for j in 0..h {
                    let mut sum = T::ZERO;
                    for i in 0..3 * h {
                        sum += dsums[t * 3 * h + i] * weight[i * h + j];
                    }
                    carried[j] += sum;
                }
            }
        });
    }
}

/// One step back of one sequence, by a `weight` if it has one; `carried` holds what later steps sent to its state, and then what
/// the step passes on without the part of the state's weights. Of a step with a weight `third` is written.
#[inline(always)]
fn step_back(
    saved: &[f32],
    state: &[f32],
    dy: &[f32],
    weight: Option<f32>,
    carried: &mut [f32],
    [dx, dsums, third]: [&mut [f32]; 3],
) {
    let h = carried.len();
    let [r, z, n, m] = parts(saved, h);
    let [dr, dz, dn] = parts_mut(dx, h);
    carried.iter_mut().zip(dy).for_each(|(dh, dy)| *dh += dy);
    match weight {
        None => {
            for (((dn, dh), z), n) in dn.iter_mut().zip(&*carried).zip(z).zip(n) {
                *dn = dh * (1.0 - z) * (1.0 - n * n);
            }
            for ((((dz, dh), z), n), state) in dz.iter_mut().zip(&*carried).zip(z).zip(n).zip(state) {
                *dz = dh * (state - n) * z * (1.0 - z);
            }
        }
        Some(weight) => {
            for ((((dkeep, dh), z), n), state) in third.iter_mut().zip(&*carried).zip(z).zip(n).zip(state) {
                *dkeep = dh * z * (n - state);
            }
            for (((dn, dh), z), n) in dn.iter_mut().zip(&*carried).zip(z).zip(n) {
                *dn = dh * (weight * z) * (1.0 - n * n);
            }
            for ((dz, dkeep), z) in dz.iter_mut().zip(&*third).zip(z) {
                *dz = weight * dkeep * (1.0 - z);
            }
        }
    }
    for (((dr, dn), m), r) in dr.iter_mut().zip(&*dn).zip(m).zip(r) {
        *dr = dn * m * r * (1.0 - r);
    }
    match weight {
        None => carried.iter_mut().zip(z).for_each(|(dh, z)| *dh *= z),
        Some(weight) => carried.iter_mut().zip(z).for_each(|(dh, z)| *dh *= 1.0 - weight * z),
    }
    dsums.copy_from_slice(dx);
    dsums[2 * h..].iter_mut().zip(r).for_each(|(dsum, r)| *dsum *= r);
}

impl Op for GruBackward {
    fn name(&self) -> &'static str {
        "gru backward"
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("weight", "3h h")
            .f32("keep", "b t")
            .f32("gates", "b t 4h")
            .f32("h", "b t h")
            .f32("dy", "b t h")
            .out_f32("dx", "b t 3h")
            .out_f32("dsums", "b t 3h")
            .out_f32(self.third(), "b t h")
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let (weight, keep, saved, y, dy) = (a.f("weight"), a.f("keep"), a.f("gates"), a.f("h"), a.f("dy"));
        let [_, steps, h] = extents(a.shape("h"));
        let [gates, states] = [3 * steps * h, steps * h];
        let outputs =
            [(a.out("dx"), gates * BLOCK), (a.out("dsums"), gates * BLOCK), (a.out(self.third()), states * BLOCK)];
        par_blocks(outputs, BLOCK * steps * h * h, |block, [dx, dsums, third]| {
            let mut carried = vec![0.0; third.len() / steps];
            let zeros = vec![0.0; h];
            for t in (0..steps).rev() {
                wide(
                    #[inline(always)]
                    || {
                        for (s, carried) in carried.chunks_exact_mut(h).enumerate() {
                            let place = (block * BLOCK + s) * steps + t;
                            let third = &mut third[s * states + t * h..][..h];
                            let state = if t > 0 { &y[(place - 1) * h..][..h] } else { &zeros };
                            let [dx, dsums] = [&mut *dx, &mut *dsums].map(|d| &mut d[s * gates + t * 3 * h..][..3 * h]);
                            let (saved, dy) = (&saved[place * 4 * h..][..4 * h], &dy[place * h..][..h]);
                            if !self.weighted {
                                third.copy_from_slice(state);
                            }
                            if self.weighted || keep[place] != 0.0 {
                                let weight = self.weighted.then_some(keep[place]);
                                step_back(saved, state, dy, weight, carried, [dx, dsums, third]);
                            } else {
                                carried.iter_mut().zip(dy).for_each(|(c, dy)| *c += dy);
                                dx.fill(0.0);
                                dsums.fill(0.0);
                            }
                        }
                    },
                );
                if t > 0 {
                    product(&mut carried, h, true, &dsums[t * 3 * h..], gates, weight);
                }
            }
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let launch = launch("backward", self.weighted, s.input("h"), 16, 3, caps)?;
        Ok(vec![launch.bind("third", self.third())])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: (s.output("dx").elements() * (2 * s.input("h").last_dim() + 6)) as u64 }
    }
}

/// A batch of whole sequences.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, t, h] = scale.pick([256, 50, 128], [5, 9, 12]);
    let sequences = |example: Example| {
        let weights = Fill::Float(1.0 / (h as f32).sqrt());
        example.f32([b, t, 3 * h], UNIT).f32([3 * h, h], weights).f32([3 * h], UNIT)
    };
    let sizes = format!("{b}x{t}x{h}");
    let plain = Example::new("gru", &sizes[..], |_, x| Ok(vec![x[0].gru(x[1], x[2], x[3])]));
    let weighted = Example::new("weighted gru", &sizes[..], |_, x| Ok(vec![x[0].weighted_gru(x[1], x[2], x[3])]));
    let plain = sequences(plain).u32([b, t], Fill::Keep);
    let weighted = sequences(weighted).f32([b, t], Fill::Positive);
    [
        plain.both(&[0, 1, 2], &["gru backward", "matmul", "sum"]),
        weighted.both(&[0, 1, 2, 3], &["gru backward", "matmul", "sum", "concat", "slice"]),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::infer;
    use crate::tensor::Spec;

    #[test]
    fn a_state_too_wide_for_workgroup_memory_is_refused_with_its_size() {
        let specs = [Spec::f32([2, 3, 3000]), Spec::f32([1000, 3000]), Spec::f32([3000]), Spec::f32([2, 3])];
        let gru = Gru { weighted: false };
        let outputs = infer(&gru, "gru", &specs).unwrap().values;
        let operands = gru.operands();
        let s = Shapes::new(&operands, &specs, &outputs, &[]);
        assert_eq!(gru.gpu(&s, &Caps::default()).unwrap().len(), 1);
        let small = Caps { workgroup_bytes: 4 << 10, ..Caps::default() };
        let message = gru.gpu(&s, &small).unwrap_err().to_string();
        assert!(message.contains("a state of 1000 takes 8000 bytes") && message.contains("4096"), "{message}");
    }

    #[test]
    fn wrong_shapes_are_refused_with_all_of_them() {
        let specs = [Spec::f32([2, 3, 12]), Spec::f32([12, 4]), Spec::f32([12]), Spec::f32([2, 3])];
        let message = infer(&Gru { weighted: false }, "gru", &specs).unwrap_err().to_string();
        assert!(message.contains("weight is [12, 4], expected [h, 3h] = [4, 12]"), "{message}");
    }
}
