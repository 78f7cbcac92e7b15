//! The weights of several vectors whose weighted mean is the shortest: MGDA's common direction of several losses (Désidéri, 2012;
//! Sener and Koltun, NeurIPS 2018).

use super::example::{Example, Scale, UNIT};
use super::launch::turns_of;
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes};
use crate::error::Result;
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// a \[T\] = argmin a^T G a with a >= 0 and sum a = 1, of a Gram matrix G \[T, T\], T at most [`MinNorm::MOST`]. Exact: of every set
/// of vectors the point of its affine hull that is nearest to 0 is found by elimination, and the shortest of those that lie within is
/// taken. Of weights that are equally good, as of equal vectors, those of the first set, in the order of
/// their bits. NaN where a product is not finite. Not differentiated.
#[derive(Debug, Clone, Copy)]
pub struct MinNorm;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    t: u32,
}

impl MinNorm {
    /// The largest T: 255 sets.
    pub const MOST: usize = 8;
    /// A pivot below this share of its vector's squared length is taken for 0: the set's hull is that of fewer of them.
    const LEAST_PIVOT: f64 = 1e-6;
    /// Invocations, which share the sets.
    const LANES: u32 = 32;

    fn twin<T: Real>(&self, args: &Args<T>) {
        let (gram, weights) = (args.f("gram"), args.out("weights"));
        let t = weights.len();
        if let Some(broken) = gram.iter().find(|x| !x.is_finite()) {
            return weights.fill(broken.finite_or_nan());
        }
        let mut shortest = None;
        for set in 1..1u32 << t {
            let Some((a, norm)) = nearest(gram, t, set) else { continue };
            if shortest.is_none_or(|shortest| norm < shortest) {
                shortest = Some(norm);
                weights.copy_from_slice(&a[..t]);
            }
        }
    }
}

/// The weights of the point nearest to 0 in the affine hull of a set of vectors, and its squared length; none if it lies outside
/// the set's simplex, or the hull is that of fewer of them.
fn nearest<T: Real>(gram: &[T], t: usize, set: u32) -> Option<([T; MinNorm::MOST], T)> {
    const N: usize = MinNorm::MOST;
    let g = |i: usize, j: usize| gram[i * t + j];
    let members = || (0..t).filter(|&i| set >> i & 1 == 1);
    // The shortest: others are taken by their distance from it.
    let base = members().reduce(|base, i| if g(i, i) < g(base, base) { i } else { base })?;
    let others = || members().filter(move |&i| i != base);
    // L below the diagonal and D on it, of (v_i - v_base) (v_j - v_base) = L D L^T; 0 outside the set.
    let (mut l, mut a) = ([T::ZERO; N * N], [T::ZERO; N]);
    for j in others() {
        for i in others().filter(|&i| i >= j) {
            let mut left = g(i, j) - g(i, base) - (g(j, base) - g(base, base));
            for k in 0..j {
                left -= l[i * N + k] * l[j * N + k] * l[k * N + k];
            }
            l[i * N + j] = if i == j { left } else { left / l[j * N + j] };
        }
        let least = T::of(MinNorm::LEAST_PIVOT) * g(j, j);
        if l[j * N + j].is_nan() || l[j * N + j] <= least {
            return None;
        }
    }
    for i in others() {
        a[i] = g(base, base) - g(i, base);
        for k in 0..i {
            let term = l[i * N + k] * a[k];
            a[i] -= term;
        }
    }
    others().for_each(|i| a[i] = a[i] / l[i * N + i]);
    for i in (0..t).rev().filter(|&i| i != base && set >> i & 1 == 1) {
        for k in i + 1..t {
            let term = l[k * N + i] * a[k];
            a[i] -= term;
        }
    }
    a[base] = T::ONE - others().map(|i| a[i]).sum();
    let of_row = |i: usize| (0..t).map(|j| a[j] * g(i, j)).sum::<T>();
    let norm: T = (0..t).map(|i| a[i] * of_row(i)).sum();
    (a.iter().all(|&a| a >= T::ZERO) && norm.is_finite()).then_some((a, norm))
}

impl Op for MinNorm {
    fn name(&self) -> &'static str {
        "min norm"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("gram", "t t").out_f32("weights", "t")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if !(1..=MinNorm::MOST).contains(&x.extent("t")) {
            return x.fail(format!("{} vectors, not 1 to {}", x.extent("t"), MinNorm::MOST));
        }
        Ok(x.declared())
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let t = s.input("gram").last_dim();
        let launch = Launch::of("min_norm", "forward").params(Params { t: t as u32 });
        let sets = turns_of((1 << t) / MinNorm::LANES as usize + 1, 8 * 8 * 8);
        Ok(vec![launch.constant("N", MinNorm::MOST as u32).turns(sets).groups(1, MinNorm::LANES as usize, caps)?])
    }

    fn exact_outputs(&self) -> &[usize] {
        &[0]
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let t = s.input("gram").last_dim() as u64;
        Cost { bytes: s.bytes(), flops: (1 << t) * t * t * t / 3 }
    }
}

/// The gradients of seven tasks, of few elements.
pub fn examples(_scale: Scale) -> Vec<Example> {
    let of = |[t, n]: [usize; 2]| {
        Example::new("min norm", t.to_string(), |g, x| g.try_push(MinNorm, &[x[0].matmul_t(x[0])])).f32([t, n], UNIT)
    };
    vec![of([7, 40]), of([2, 3])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::infer;
    use crate::tensor::{Shape, Spec};

    fn solved(gram: &[f64], t: usize) -> (Vec<f64>, f64) {
        let sets = (1..1u32 << t).filter_map(|set| nearest(gram, t, set));
        let (a, norm) = sets.reduce(|best, next| if next.1 < best.1 { next } else { best }).unwrap();
        (a[..t].to_vec(), norm)
    }

    #[test]
    fn of_two_vectors_it_is_the_closed_form() {
        for (a, b, both) in
            [(1.0f64, 1.0, 0.0f64), (1.0, 4.0, 2.0), (4.0, 1.0, 1.5), (1.0, 0.25, -0.5), (9.0, 1e-2, -0.2)]
        {
            let first = ((b - both) / (a + b - 2.0 * both)).clamp(0.0, 1.0);
            let (weights, norm) = solved(&[a, both, both, b], 2);
            let want = [first, 1.0 - first];
            let length = first * first * a + 2.0 * first * (1.0 - first) * both + (1.0 - first) * (1.0 - first) * b;
            assert!((norm - length).abs() < 1e-12, "{a} {b} {both}: {norm}, not {length}");
            assert!(weights.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{weights:?}, not {want:?}");
        }
    }

    #[test]
    fn vectors_that_are_equal_or_zero_have_weights_too() {
        assert_eq!(solved(&[4.0; 9], 3), (vec![1.0, 0.0, 0.0], 4.0));
        assert_eq!(solved(&[4.0, 0.0, 0.0, 0.0], 2), (vec![0.0, 1.0], 0.0));
    }

    #[test]
    fn wrong_shapes_are_refused_with_all_of_them() {
        let refused = |shape: &[usize]| {
            let specs = [Spec::f32(Shape::from(shape))];
            infer(&MinNorm, "min norm", &specs).unwrap_err().to_string()
        };
        assert!(refused(&[3, 4]).contains("gram is [3, 4], expected [t, t]"), "{}", refused(&[3, 4]));
        assert!(refused(&[9, 9]).contains("9 vectors, not 1 to 8"));
    }
}
