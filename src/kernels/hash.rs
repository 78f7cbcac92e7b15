//! Hashes of the bits of tensors: they tell whether two trainings have the same parameters, and none is read back.

use super::example::{Example, Scale, UNIT};
use super::fast::wide;
use super::launch::{TREE, group_size, turns_of};
use super::parallel::{SERIAL, in_tile};
use super::real::Real;
use super::{Args, Caps, Inputs, Launch, Op, Operands, Outputs, Shapes};
use crate::error::Result;
use crate::tensor::{DType, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// The hash of each input, n tensors of floats: \[n, 2\], two words. Equal bits have equal hashes; others do with a chance of 2^-64.
#[derive(Debug, Clone, Copy)]
pub struct Hash;

/// Elements of a workgroup, and of a task of a CPU.
const CHUNK: usize = 1 << 14;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    groups: u32,
    to: u32,
}

/// The sums of the chunk of a tensor that begins with element `first`: the formula is in the shader.
#[inline(always)]
fn chunk<T: Real>(first: usize, x: &[T]) -> [u32; 2] {
    let mut sums = [0u32; 2];
    for (i, x) in (first as u32 + 1..).zip(x) {
        let mut a = (x.f64() as f32).to_bits().wrapping_add(i.wrapping_mul(0x9E37_79B9));
        a = (a ^ a >> 16).wrapping_mul(0x85EB_CA6B);
        a = (a ^ a >> 13).wrapping_mul(0xC2B2_AE35);
        a ^= a >> 16;
        let b = (a ^ i.wrapping_mul(0x27D4_EB2F)).wrapping_mul(0x9E37_79B1);
        sums = add(sums, [a, b ^ b >> 15]);
    }
    sums
}

#[inline(always)]
fn add(a: [u32; 2], b: [u32; 2]) -> [u32; 2] {
    [a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])]
}

fn hash<T: Real>(x: &[T]) -> [u32; 2] {
    let of = |(number, x): (usize, &[T])| {
        wide(
            #[inline(always)]
            || chunk(number * CHUNK, x),
        )
    };
    match x.len() < SERIAL || in_tile() {
        true => x.chunks(CHUNK).enumerate().map(of).fold([0; 2], add),
        false => x.par_chunks(CHUNK).enumerate().map(of).reduce(|| [0; 2], add),
    }
}

impl Hash {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let hashes = a.out_u("hash").chunks_exact_mut(2).enumerate();
        hashes.for_each(|(i, to)| to.copy_from_slice(&hash(a.f(i))));
    }
}

impl Op for Hash {
    fn name(&self) -> &'static str {
        "hash"
    }

    fn operands(&self) -> Operands {
        Operands::new().many().out("hash").scratch("partial")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if x.is_empty() {
            return x.fail("nothing to hash");
        }
        (0..x.len()).try_for_each(|i| x.dtype(i, DType::F32))?;
        let groups = (0..x.len()).map(|i| x.shape(i).elements().div_ceil(CHUNK)).max().unwrap_or(0);
        Ok(Outputs::one(Spec::u32([x.len(), 2])).with_scratch(Spec::u32([groups, 2])))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let mut launches = vec![];
        for i in 0..s.inputs.len() {
            let n = s.input(i).elements();
            // Of an empty tensor too, whose hash is 0.
            let groups = n.div_ceil(CHUNK).max(1);
            let size = group_size(n, caps);
            let launch = |entry, terms: usize, to| {
                let (params, turns) = (Params { n: n as u32, groups: groups as u32, to }, terms.div_ceil(size));
                Launch::of("hash", entry)
                    .params(params)
                    .constant("CHUNK", CHUNK as u32)
                    .turns(turns_of(turns, 0) + TREE)
            };
            let forward = |to| launch("forward", CHUNK.min(n), to).bind("x", i);
            let to = 2 * i as u32;
            if groups == 1 {
                launches.push(forward(to).groups(1, size, caps)?);
            } else {
                launches.push(forward(0).bind("hash", "partial").groups(groups, size, caps)?);
                launches.push(launch("total", groups, to).groups(1, size, caps)?);
            }
        }
        Ok(launches)
    }
}

/// The parameters of a model: a table and two smaller ones.
pub fn examples(scale: Scale) -> Vec<Example> {
    let (rows, d) = (scale.rows(), scale.width());
    let hash = Example::new("hash", format!("{rows}x{d}, {d}x{d}, {d}"), |g, x| Ok(vec![g.push(Hash, x)]));
    vec![hash.f32([rows, d], UNIT).f32([d, d], UNIT).f32([d], UNIT)]
}
