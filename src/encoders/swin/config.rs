//! What config.json says of a Swin Transformer, and the tensors that follow from it.

use super::super::Folder;
use super::windows::relative;
use crate::error::Result;
use crate::nn::encoder::Inner;
use crate::tensor::Tensor;

/// Channels of an image.
pub const CHANNELS: usize = 3;
/// The map from a patch to its vector.
pub const PATCHES: &str = "embeddings.patch_embeddings.projection";
/// The biases by relative position of a block.
pub const BIASES: &str = "attention.self.relative_position_bias_table";

/// The settings of config.json.
pub struct Config {
    /// Pixels along a patch.
    pub patch: usize,
    /// Width of the first stage; each later one has twice that of the one before.
    pub dim: usize,
    pub stages: Vec<Stage>,
    /// Positions along a window.
    pub window: usize,
    /// Width inside the feed-forward, as a multiple of the stage's.
    pub ratio: f64,
    /// Whether queries, keys and values have biases.
    pub biases: bool,
    pub activation: Inner,
    pub eps: f64,
}

#[derive(Clone, Copy)]
pub struct Stage {
    pub depth: usize,
    pub heads: usize,
}

impl Config {
    pub fn of(folder: &Folder) -> Result<Config> {
        folder.expect_type("swin")?;
        let number = |key: &str, default: usize, most: usize| match folder.setting_or_none(key)?.unwrap_or(default) {
            n if (1..=most).contains(&n) => Ok(n),
            n => Err(folder.refuse(key, n, format!("a number from 1 to {most}"))),
        };
        let list =
            |key: &str, default: [usize; 4]| folder.setting_or_none(key).map(|list| list.unwrap_or(default.into()));
        if number("num_channels", CHANNELS, 1 << 10)? != CHANNELS {
            let found: usize = folder.setting("num_channels")?;
            return Err(folder.refuse("num_channels", found, "3, those of an RGB image"));
        }
        if folder.setting_or_none("use_absolute_embeddings")? == Some(true) {
            let expected = "false: transformers' SwinModel cannot add them either, since it has one more than patches";
            return Err(folder.refuse("use_absolute_embeddings", true, expected));
        }
        let (depths, heads): (Vec<usize>, Vec<usize>) =
            (list("depths", [2, 2, 6, 2])?, list("num_heads", [3, 6, 12, 24])?);
        if depths.is_empty() || depths.len() > 8 || depths.iter().any(|&n| n > 1000) {
            return Err(folder.refuse(
                "depths",
                format!("{depths:?}"),
                "blocks of 1 to 8 stages, at most 1000 of each",
            ));
        }
        let dim = number("embed_dim", 96, 1 << 16)?;
        let divides = |(stage, &heads): (usize, &usize)| heads > 0 && (dim << stage).is_multiple_of(heads);
        if heads.len() != depths.len() || !heads.iter().enumerate().all(divides) {
            let expected = format!("a divisor of each stage's width, {dim} doubled {} times", depths.len() - 1);
            return Err(folder.refuse("num_heads", format!("{heads:?}"), expected));
        }
        let ratio = folder.setting_or_none("mlp_ratio")?.unwrap_or(4.0);
        if !(ratio * dim as f64 >= 1.0 && ratio <= 64.0) {
            return Err(folder.refuse("mlp_ratio", ratio, "a number up to 64"));
        }
        let eps = folder.setting_or_none("layer_norm_eps")?.unwrap_or(1e-5);
        if !(eps > 0.0 && eps < 1.0) {
            return Err(folder.refuse("layer_norm_eps", eps, "a number between 0 and 1"));
        }
        let activation = folder.setting_or_none("hidden_act")?.unwrap_or("gelu".to_string());
        let activation = match activation.as_str() {
            "gelu" | "gelu_python" => Inner::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Inner::GeluTanh,
            "relu" => Inner::Relu,
            _ => {
                let expected = "gelu, gelu_new, gelu_pytorch_tanh or relu";
                return Err(folder.refuse("hidden_act", format!("{activation:?}"), expected));
            }
        };
        Ok(Config {
            patch: number("patch_size", 4, 1 << 10)?,
            dim,
            stages: depths.iter().zip(&heads).map(|(&depth, &heads)| Stage { depth, heads }).collect(),
            window: number("window_size", 7, 64)?,
            ratio,
            biases: folder.setting_or_none("qkv_bias")?.unwrap_or(true),
            activation,
            eps,
        })
    }

    /// Width of stage `s`.
    pub fn dim(&self, s: usize) -> usize {
        self.dim << s
    }

    /// Pixels of a patch, of all channels.
    pub fn patch_pixels(&self) -> usize {
        CHANNELS * self.patch * self.patch
    }

    /// Width of the last stage.
    pub fn width(&self) -> usize {
        self.dim(self.stages.len() - 1)
    }

    /// Patches down and across an image of \[height, width\] pixels.
    pub fn grid(&self, size: [usize; 2]) -> [usize; 2] {
        size.map(|n| n.div_ceil(self.patch))
    }

    /// All tensors: name and shape.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut list = Tensors(vec![]);
        list.add(&format!("{PATCHES}.weight"), &[self.dim, CHANNELS, self.patch, self.patch]);
        list.add(&format!("{PATCHES}.bias"), &[self.dim]);
        list.norm("embeddings.norm", self.dim);
        for (s, stage) in self.stages.iter().enumerate() {
            let (d, inner) = (self.dim(s), (self.ratio * self.dim(s) as f64) as usize);
            for b in 0..stage.depth {
                let name = |part: &str| format!("encoder.layers.{s}.blocks.{b}.{part}");
                list.norm(&name("layernorm_before"), d);
                for part in ["query", "key", "value"] {
                    list.linear(&name(&format!("attention.self.{part}")), [d, d], self.biases);
                }
                list.add(&name(BIASES), &[(2 * self.window - 1).pow(2), stage.heads]);
                list.linear(&name("attention.output.dense"), [d, d], true);
                list.norm(&name("layernorm_after"), d);
                list.linear(&name("intermediate.dense"), [inner, d], true);
                list.linear(&name("output.dense"), [d, inner], true);
            }
            if s + 1 < self.stages.len() {
                list.norm(&format!("encoder.layers.{s}.downsample.norm"), 4 * d);
                list.linear(&format!("encoder.layers.{s}.downsample.reduction"), [2 * d, 4 * d], false);
            }
        }
        list.norm("layernorm", self.width());
        list.0
    }

    /// A tensor in the form in which the graph takes it: of a table of biases the bias of each pair of positions, \[heads, L, L\], and
    /// the weight of a linear layer from its inputs to its outputs, which products read faster.
    pub fn prepared(&self, name: &str, tensor: Tensor) -> Tensor {
        let (shape, values) = (tensor.shape.clone(), tensor.to_f32());
        if name.ends_with(BIASES) {
            let (heads, l) = (shape[1], self.window * self.window);
            let rows = relative(self.window);
            let bias = (0..heads).flat_map(|h| rows.iter().map(move |row| row * heads + h)).map(|at| values[at]);
            return Tensor::f32([heads, l, l], bias.collect());
        }
        if shape.len() == 1 {
            return tensor;
        }
        let (out, width) = (shape[0], values.len() / shape[0]);
        let turned = (0..width).flat_map(|i| (0..out).map(move |o| o * width + i)).map(|at| values[at]);
        Tensor::f32([width, out], turned.collect())
    }
}

/// Names and shapes.
struct Tensors(Vec<(String, Vec<usize>)>);

impl Tensors {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.push((name.to_string(), shape.to_vec()));
    }

    fn norm(&mut self, name: &str, d: usize) {
        self.add(&format!("{name}.weight"), &[d]);
        self.add(&format!("{name}.bias"), &[d]);
    }

    fn linear(&mut self, name: &str, [out, width]: [usize; 2], bias: bool) {
        self.add(&format!("{name}.weight"), &[out, width]);
        if bias {
            self.add(&format!("{name}.bias"), &[out]);
        }
    }
}
