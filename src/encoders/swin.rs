//! Swin Transformer (Liu et al., ICCV 2021), forward only, from the folders of transformers' `SwinModel`.
//! patches: `Swin::patches` | windows, shifts and merging as rows to gather: [`windows`] | section 3.2, blocks: `Traced::block` |
//! equation 4, attention with a bias by relative position: `Traced::attention` | the mean after the last norm: `Traced::run`

mod config;
mod windows;

use super::Folder;
use super::pixels::Pixels;
use crate::device::{Device, RunOptions, Runner, Store};
use crate::error::{Error, Result};
use crate::graph::plan::Options;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::MatMul;
use crate::nn::encoder::Inner;
use crate::nn::{Init, Params};
use crate::tensor::{Spec, Tensor};
use config::{BIASES, Config, PATCHES};
use rayon::prelude::*;
use std::collections::HashMap;
use windows::{Windows, merged, repeat};

/// Of the norms after the patches and before a merge, whatever the folder says of the others.
const EPS: f64 = 1e-5;
/// Windows at least, or groups of as many rows, that a CPU takes through a block at once.
const TILE: usize = 2;
/// Image sizes whose plans are kept.
const PLANS: usize = 8;

/// A model with its parameters on a device.
pub struct Swin {
    config: Config,
    params: Params,
    device: Device,
    store: Store,
    /// By the grid of patches, \[height, width\].
    runners: HashMap<[usize; 2], Runner>,
}

impl Swin {
    /// Images of a plan. It always has as many, the last ones black if need be, since products of other extents may round otherwise:
    /// so a vector does not depend on what else is encoded.
    pub const IMAGES: usize = 8;

    /// A model from its folder.
    ///
    /// # Errors
    /// A folder of another model or with settings that are not supported; a tensor that is missing or of another shape; a device
    /// that cannot hold the parameters.
    pub fn open(folder: &Folder, device: &Device) -> Result<Swin> {
        let config = Config::of(folder)?;
        let tensors = config.tensors();
        let prefix = if folder.has("swin.embeddings.norm.weight") { "swin." } else { "" };
        // All before memory is taken for what config.json claims.
        tensors.iter().try_for_each(|(name, shape)| folder.check(&format!("{prefix}{name}"), shape))?;
        let read = |(name, shape): &(String, Vec<usize>)| {
            Ok((name.clone(), config.prepared(name, folder.tensor(&format!("{prefix}{name}"), shape)?)))
        };
        let tensors: Vec<(String, Tensor)> = tensors.iter().map(read).collect::<Result<_>>()?;
        let mut params = Params::new();
        tensors.iter().for_each(|(name, tensor)| params.add(name, tensor.shape.clone(), Init::Constant(0.0)));
        let mut store = device.store(&params.states())?;
        tensors.iter().try_for_each(|(name, tensor)| params.write(&mut store, name, tensor))?;
        Ok(Swin { config, params, device: device.clone(), store, runners: HashMap::new() })
    }

    /// Width of a vector.
    pub fn width(&self) -> usize {
        self.config.width()
    }

    /// What is wrong with images of \[height, width\] pixels, and what is expected: each stage must have at least a window of
    /// positions.
    pub fn too_small(&self, size: [usize; 2]) -> Option<[String; 2]> {
        let (mut grid, window) = (self.config.grid(size), self.config.window);
        for stage in 1..=self.config.stages.len() {
            if grid[0].min(grid[1]) < window {
                return Some([
                    format!(
                        "{} x {} pixels, which leave stage {stage} of the model {} x {} positions",
                        size[1], size[0], grid[1], grid[0]
                    ),
                    format!("larger images: a stage has at least one window, {window} x {window}"),
                ]);
            }
            grid = grid.map(|n| n.div_ceil(2));
        }
        None
    }

    /// The vector of each image, \[width\].
    ///
    /// # Errors
    /// Images that are [too small](Swin::too_small); a device that cannot hold the values.
    pub fn encode(&mut self, images: &[&Pixels]) -> Result<Vec<Vec<f32>>> {
        let mut sizes: Vec<[usize; 2]> = images.iter().map(|image| image.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let mut vectors = vec![vec![]; images.len()];
        for size in sizes {
            let alike: Vec<usize> = (0..images.len()).filter(|&i| images[i].size == size).collect();
            for part in alike.chunks(Swin::IMAGES) {
                let of_part: Vec<&Pixels> = part.iter().map(|&i| images[i]).collect();
                part.iter().zip(self.run(size, &of_part)?).for_each(|(&i, vector)| vectors[i] = vector);
            }
        }
        Ok(vectors)
    }

    /// The vectors of at most as many images of one size as a plan has.
    fn run(&mut self, size: [usize; 2], images: &[&Pixels]) -> Result<Vec<Vec<f32>>> {
        if let Some([found, expected]) = self.too_small(size) {
            return Err(Error::Usage(format!("found images of {found}; expected {expected}")));
        }
        let grid = self.config.grid(size);
        let mut patches = vec![0.0; Swin::IMAGES * grid[0] * grid[1] * self.config.patch_pixels()];
        let of_image = grid[0] * grid[1] * self.config.patch_pixels();
        patches.par_chunks_mut(of_image).zip(images).for_each(|(patches, image)| self.patches(image, patches));
        if !self.runners.contains_key(&grid) {
            if self.runners.len() == PLANS {
                self.runners.clear();
            }
            let runner = self.compile(grid, Windows::new)?;
            self.runners.insert(grid, runner);
        }
        let runner = self.runners.get_mut(&grid).expect("it was just made");
        runner.write_f32("patches", &patches)?;
        runner.run()?;
        let vectors = runner.read("vectors")?.to_f32();
        Ok(vectors.chunks(self.config.width()).take(images.len()).map(<[f32]>::to_vec).collect())
    }

    /// Cuts an image into patches, row by row: \[patches, channels * patch * patch\], with zeros below and on the right of the image.
    fn patches(&self, image: &Pixels, patches: &mut [f32]) {
        let (p, [height, width]) = (self.config.patch, image.size);
        let across = self.config.grid(image.size)[1];
        for (at, patch) in patches.chunks_mut(self.config.patch_pixels()).enumerate() {
            let [top, left] = [at / across * p, at % across * p];
            let columns = p.min(width - left);
            for (row, values) in patch.chunks_mut(p).enumerate().filter(|(row, _)| top + row % p < height) {
                let from = (row / p * height + top + row % p) * width + left;
                values[..columns].copy_from_slice(&image.values[from..from + columns]);
            }
        }
    }

    fn compile(&self, grid: [usize; 2], windows: Cutting) -> Result<Runner> {
        let g = Graph::new();
        let traced = Traced { config: &self.config, params: &self.params, g: &g, images: Swin::IMAGES, windows };
        g.result("vectors", traced.run(grid));
        let plan = self.device.plan(&g, Options { tile: TILE, ..Options::default() })?;
        self.device.compile(&plan, &self.store, RunOptions::default())
    }
}

/// How a grid \[height, width\] is cut, given the window and the shift.
type Cutting = fn([usize; 2], usize, usize) -> Windows;

struct Traced<'e, 'g> {
    config: &'e Config,
    params: &'e Params,
    g: &'g Graph,
    images: usize,
    windows: Cutting,
}

/// How a grid is cut into windows, as the graph reads it.
#[derive(Clone, Copy)]
struct Cut<'g> {
    /// \[windows of all images, L\]
    rows: Var<'g>,
    back: Var<'g>,
    mask: Option<Var<'g>>,
}

impl<'g> Traced<'_, 'g> {
    /// The vectors of the images, \[images, width\].
    fn run(&self, mut grid: [usize; 2]) -> Var<'g> {
        let [groups, rows] = self.groups(grid);
        let patches = Spec::f32([groups, rows, self.config.patch_pixels()]);
        let mut x = self.linear(PATCHES, self.g.input("patches", patches), true);
        x = self.norm("embeddings.norm", EPS, x, None)[0];
        let mut rest = None;
        for (s, stage) in self.config.stages.iter().enumerate() {
            let cuts = [0, 1].map(|odd| self.cut(grid, odd * self.config.window / 2));
            for b in 0..stage.depth {
                let block = format!("encoder.layers.{s}.blocks.{b}");
                (x, rest) = self.block(&block, stage.heads, cuts[b % 2], x, rest);
            }
            if s + 1 < self.config.stages.len() {
                x = self.merge(&format!("encoder.layers.{s}.downsample"), grid, rest.map_or(x, |rest| x + rest));
                rest = None;
                grid = grid.map(|n| n.div_ceil(2));
            }
        }
        let x = self.norm("layernorm", self.config.eps, x, rest)[0];
        x.reshape([self.images, grid[0] * grid[1], self.config.width()]).mean(1)
    }

    /// How the rows of all images' grids are grouped: \[groups, rows\], at most a window's, so that a CPU's tiles have as many rows
    /// between windows as within them.
    fn groups(&self, grid: [usize; 2]) -> [usize; 2] {
        let n = self.images * grid[0] * grid[1];
        let rows = (1..=self.config.window.pow(2)).rev().find(|&rows| n.is_multiple_of(rows)).unwrap_or(1);
        [n / rows, rows]
    }

    fn param(&self, name: &str) -> Var<'g> {
        self.params.var(self.g, name)
    }

    fn linear(&self, name: &str, x: Var<'g>, bias: bool) -> Var<'g> {
        let bias = bias.then(|| self.param(&format!("{name}.bias")));
        let inputs: Vec<_> = [x, self.param(&format!("{name}.weight"))].into_iter().chain(bias).collect();
        let product = MatMul { bias: bias.is_some(), ..MatMul::new(false, false) };
        self.g.scope(name, || self.g.push(product, &inputs))
    }

    /// The norm of `x + rest`, and that sum.
    fn norm(&self, name: &str, eps: f64, x: Var<'g>, rest: Option<Var<'g>>) -> [Var<'g>; 2] {
        let (gain, bias) = (self.param(&format!("{name}.weight")), self.param(&format!("{name}.bias")));
        self.g.scope(name, || match rest {
            None => [x.layer_norm(gain, bias, eps), x],
            Some(rest) => x.add_layer_norm(rest, 0.0, gain, bias, eps),
        })
    }

    /// The windows of a grid that is not shifted, or is where it has more than one window on each side.
    fn cut(&self, grid: [usize; 2], shift: usize) -> Cut<'g> {
        let window = self.config.window;
        let cut = (self.windows)(grid, window, if grid[0].min(grid[1]) > window { shift } else { 0 });
        let positions = window * window;
        let list = |shape: [usize; 2], rows: Vec<u32>| self.g.constant(Tensor::u32(shape, rows));
        let windows = self.images * cut.count;
        Cut {
            rows: list([windows, positions], repeat(&cut.rows, self.images, grid[0] * grid[1])),
            back: list(self.groups(grid), repeat(&cut.back, self.images, cut.count * positions)),
            mask: cut.mask.map(|mask| self.g.constant(Tensor::f32([cut.count, 1, positions, positions], mask))),
        }
    }

    /// A block, of `x + rest` \[rows, d\]: its residual stream and what is to be added to it.
    fn block(
        &self,
        name: &str,
        heads: usize,
        cut: Cut<'g>,
        x: Var<'g>,
        rest: Option<Var<'g>>,
    ) -> (Var<'g>, Option<Var<'g>>) {
        let eps = self.config.eps;
        let [y, x] = self.norm(&format!("{name}.layernorm_before"), eps, x, rest);
        let y = self.attention(name, heads, cut, y);
        let [y, x] = self.norm(&format!("{name}.layernorm_after"), eps, x, Some(y));
        let y = self.linear(&format!("{name}.intermediate.dense"), y, true);
        let y = match self.config.activation {
            Inner::Gelu => y.gelu(),
            Inner::GeluTanh => y.gelu_tanh(),
            Inner::Relu => y.relu(),
        };
        (x, Some(self.linear(&format!("{name}.output.dense"), y, true)))
    }

    /// softmax(q k^T / sqrt(d) + bias) v within each window (equation 4), of the rows of a grid \[rows, d\].
    fn attention(&self, name: &str, heads: usize, cut: Cut<'g>, x: Var<'g>) -> Var<'g> {
        let l = self.config.window.pow(2);
        let rows = flat(x).gather(cut.rows);
        let part = |part: &str| self.linear(&format!("{name}.attention.self.{part}"), rows, self.config.biases);
        let bias = self.param(&format!("{name}.{BIASES}"));
        let bias = cut.mask.map_or_else(|| bias.reshape([1, heads, l, l]), |mask| bias + mask);
        let y = part("query").biased_attention(part("key"), part("value"), bias, heads);
        self.linear(&format!("{name}.attention.output.dense"), flat(y).gather(cut.back), true)
    }

    /// Four neighbours side by side, mapped to twice the width: a grid of half the height and width.
    fn merge(&self, name: &str, grid: [usize; 2], x: Var<'g>) -> Var<'g> {
        let rows = repeat(&merged(grid), self.images, grid[0] * grid[1]);
        let [groups, n] = self.groups(grid.map(|n| n.div_ceil(2)));
        let rows = self.g.constant(Tensor::u32([groups, 4 * n], rows));
        let x = flat(x).gather(rows).reshape([groups, n, 4 * x.shape().last_dim()]);
        let x = self.norm(&format!("{name}.norm"), EPS, x, None)[0];
        self.linear(&format!("{name}.reduction"), x, false)
    }
}

/// Rows without their groups.
fn flat(x: Var) -> Var {
    x.reshape([x.shape().rows(), x.shape().last_dim()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn reference() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/golden/encoders/swin")
    }

    fn open() -> Swin {
        Swin::open(&Folder::open(&reference()).unwrap(), &Device::open("cpu").unwrap().0).unwrap()
    }

    /// The pixels of 40 x 36 of the reference values, and their vector.
    fn given() -> (Pixels, Vec<f64>) {
        let mut file = npyz::npz::NpzArchive::open(reference().with_extension("npz")).unwrap();
        let mut array = |name: &str| file.by_name(name).unwrap().unwrap().into_vec::<f64>().unwrap();
        let values = array("in.px_40x36").into_iter().map(|x| x as f32).collect();
        (Pixels { size: [40, 36], values }, array("out.mean_40x36"))
    }

    fn off(got: &[f32], want: &[f64]) -> f64 {
        got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).abs()).fold(0.0, f64::max)
    }

    /// The reference values tell a model with all its parts from one that lacks any.
    #[test]
    fn nothing_may_be_left_out() {
        let (pixels, want) = given();
        let without = |cutting: Cutting| {
            let mut swin = open();
            let grid = swin.config.grid(pixels.size);
            let runner = swin.compile(grid, cutting).unwrap();
            swin.runners.insert(grid, runner);
            off(&swin.encode(&[&pixels]).unwrap()[0], &want)
        };
        assert!(without(Windows::new) < 1e-5);
        assert!(without(|grid, window, _| Windows::new(grid, window, 0)) > 0.1, "no shift");
        assert!(
            without(|grid, window, shift| Windows { mask: None, ..Windows::new(grid, window, shift) }) > 0.1,
            "no mask"
        );
        let mut swin = open();
        let biases: Vec<(String, usize)> = swin
            .params
            .iter()
            .filter(|param| param.name.ends_with(BIASES))
            .map(|param| (param.name.clone(), param.shape[0]))
            .collect();
        for (name, heads) in biases {
            let zeros = Tensor::f32([heads, 16, 16], vec![0.0; heads * 256]);
            swin.params.write(&mut swin.store, &name, &zeros).unwrap();
        }
        assert!(off(&swin.encode(&[&pixels]).unwrap()[0], &want) > 0.1, "no bias");
    }

    #[test]
    fn a_vector_depends_on_its_image_alone() {
        let (pixels, _) = given();
        let other = |i: usize| {
            let size = if i.is_multiple_of(3) { [32, 32] } else { pixels.size };
            Pixels { size, values: vec![i as f32 - 5.0; 3 * size[0] * size[1]] }
        };
        let others: Vec<Pixels> = (0..11).map(other).collect();
        let mut swin = open();
        let alone = swin.encode(&[&pixels]).unwrap();
        let among: Vec<&Pixels> = others.iter().chain([&pixels]).chain(&others[..3]).collect();
        assert_eq!(swin.encode(&among).unwrap()[11], alone[0]);
    }

    #[test]
    fn images_smaller_than_a_window_are_refused() {
        let mut swin = open();
        let pixels = Pixels { size: [40, 24], values: vec![0.0; 3 * 40 * 24] };
        let error = swin.encode(&[&pixels]).unwrap_err().to_string();
        let expected = "found images of 24 x 40 pixels, which leave stage 2 of the model 3 x 5 positions";
        assert!(error.starts_with(expected), "{error}");
    }
}
