//! BERT (Devlin et al., NAACL 2019), forward only: the sum of three embeddings, and the blocks of [`Encoder`].
//!
//! Tensors have Hugging Face's names, with `bert.` in front or not, norms as weight and bias or as gamma and beta. Tensors that
//! are not named here, such as those of a pooler, are not read.

use super::Folder;
use crate::device::Store;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::attention::Attention;
use crate::nn::encoder::{Encoder, Inner, Norm, Places};
use crate::nn::{Init, Params};

/// A model's extents and parameters; the numbers of these lie in a store.
pub struct Bert {
    /// Rows of the embedding of tokens: their ids are below.
    pub vocabulary: usize,
    /// The longest sequence.
    pub positions: usize,
    /// Rows of the embedding of token types.
    pub types: usize,
    pub width: usize,
    pub params: Params,
    encoder: Encoder,
    parts: Vec<Part>,
}

/// A parameter, the tensor that it is read from, and its shape.
struct Part {
    param: String,
    tensor: String,
    shape: Vec<usize>,
}

impl Bert {
    /// Reads a folder's settings, and checks its tensors against them.
    ///
    /// # Errors
    /// A model of another type; settings that BERT has not; a tensor that is missing or of another shape.
    pub fn open(folder: &Folder) -> Result<Bert> {
        folder.expect_type("bert")?;
        let encoder = encoder(folder)?;
        let [vocabulary, positions] = [extent(folder, "vocab_size")?, extent(folder, "max_position_embeddings")?];
        let types = folder.setting_or_none("type_vocab_size")?.unwrap_or(2);
        let width = encoder.dim;
        let mut params = Params::new();
        let mut parts = vec![];
        let tables = [("word", vocabulary), ("position", positions), ("token_type", types)];
        for (name, rows) in tables {
            let table = format!("{name}_embeddings");
            parts.push(part(folder, table.clone(), &format!("embeddings.{table}.weight"), [rows, width])?);
            params.add(&table, [rows, width], Init::Constant(0.0));
        }
        parts.extend(norm(folder, "encoder.embedding_norm", "embeddings.LayerNorm", width)?);
        // Before anything is made of the number of layers: the first that is missing ends this.
        for l in 0..encoder.layers {
            parts.extend(block(folder, &encoder, l)?);
        }
        encoder.declare(&mut params, Init::Constant(0.0));
        Ok(Bert { vocabulary, positions, types, width, params, encoder, parts })
    }

    /// The number of blocks.
    pub fn blocks(&self) -> usize {
        self.encoder.layers
    }

    /// Reads the tensors into a store.
    pub fn load(&self, folder: &Folder, store: &mut Store) -> Result<()> {
        self.parts.iter().try_for_each(|Part { param, tensor, shape }| {
            self.params.write(store, param, &folder.tensor(tensor, shape)?)
        })
    }

    /// The hidden states \[B, T, width\] of tokens `ids` and their `types`, both \[B, T\] (u32), where `mask` \[B, T\] is not 0.
    pub fn hidden<'g>(&self, g: &'g Graph, ids: Var<'g>, types: Var<'g>, mask: Var<'g>) -> Var<'g> {
        self.encoder.encode(&self.params, self.embedded(g, ids, types), mask, false)
    }

    /// As [`Bert::hidden`], of the first token: \[B, width\].
    pub fn first<'g>(&self, g: &'g Graph, ids: Var<'g>, types: Var<'g>, mask: Var<'g>) -> Var<'g> {
        let first = |x: Var<'g>| x.slice(1, 0, 1);
        let x = self.embedded(g, ids, types);
        let y = self.encoder.encode_at(Places::Last(&first), &self.params, x, mask, false);
        y.reshape([ids.shape()[0], self.width])
    }

    /// The sum of the embeddings of tokens, positions and types. \[B, T, width\]
    fn embedded<'g>(&self, g: &'g Graph, ids: Var<'g>, types: Var<'g>) -> Var<'g> {
        let table = |name: &str| self.params.var(g, &format!("{name}_embeddings"));
        let positions = table("position").slice(0, 0, ids.shape()[1]);
        table("word").gather(ids) + positions + table("token_type").gather(types)
    }
}

/// The blocks that config.json describes.
fn encoder(folder: &Folder) -> Result<Encoder> {
    let [dim, heads, layers] =
        [extent(folder, "hidden_size")?, extent(folder, "num_attention_heads")?, extent(folder, "num_hidden_layers")?];
    if !dim.is_multiple_of(heads) {
        return Err(folder.refuse("num_attention_heads", heads, format!("a divisor of hidden_size, {dim}")));
    }
    if dim / heads > Attention::LARGEST_HEAD {
        let least = dim.div_ceil(Attention::LARGEST_HEAD);
        return Err(folder.refuse(
            "num_attention_heads",
            heads,
            format!("{least} or more, for a hidden_size of {dim}"),
        ));
    }
    let act: Option<String> = folder.setting_or_none("hidden_act")?;
    let activation = match act.as_deref().unwrap_or("gelu") {
        "gelu" | "gelu_python" => Inner::Gelu,
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Inner::GeluTanh,
        "relu" => Inner::Relu,
        other => return Err(folder.refuse("hidden_act", other, "gelu, gelu_new, gelu_pytorch_tanh or relu")),
    };
    let positions: Option<String> = folder.setting_or_none("position_embedding_type")?;
    if let Some(other) = positions.filter(|positions| positions != "absolute") {
        return Err(folder.refuse("position_embedding_type", other, "absolute"));
    }
    if folder.setting_or_none("is_decoder")? == Some(true) {
        return Err(folder.refuse("is_decoder", true, "false: a decoder's tokens do not see later ones"));
    }
    let eps: Option<f64> = folder.setting_or_none("layer_norm_eps")?;
    let eps = eps.unwrap_or(1e-12);
    if !(0.0..1.0).contains(&eps) {
        return Err(folder.refuse("layer_norm_eps", eps, "a number from 0 to 1"));
    }
    let inner = extent(folder, "intermediate_size")?;
    let (norm, dropout, causal, attend_padding, output) = (Norm::Post, 0.0, false, false, true);
    let name = "encoder";
    Ok(Encoder { name, norm, dim, layers, heads, inner, dropout, causal, attend_padding, activation, output, eps })
}

/// A whole number of config.json that is not 0.
fn extent(folder: &Folder, key: &str) -> Result<usize> {
    match folder.setting(key)? {
        0 => Err(folder.refuse(key, 0, "at least 1")),
        extent => Ok(extent),
    }
}

/// The parts of block `l`.
fn block(folder: &Folder, encoder: &Encoder, l: usize) -> Result<Vec<Part>> {
    let &Encoder { dim: d, inner, .. } = encoder;
    let linear = [
        ("attention.query", "attention.self.query", d, d),
        ("attention.key", "attention.self.key", d, d),
        ("attention.value", "attention.self.value", d, d),
        ("attention.output", "attention.output.dense", d, d),
        ("feed_forward.0", "intermediate.dense", inner, d),
        ("feed_forward.1", "output.dense", d, inner),
    ];
    let mut parts = vec![];
    for (param, name, out, width) in linear {
        let (param, name) = (format!("encoder.{l}.{param}"), format!("encoder.layer.{l}.{name}"));
        parts.push(part(folder, format!("{param}.weight"), &format!("{name}.weight"), [out, width])?);
        parts.push(part(folder, format!("{param}.bias"), &format!("{name}.bias"), [out])?);
    }
    for (param, name) in [("attention_norm", "attention.output"), ("feed_forward_norm", "output")] {
        let name = format!("encoder.layer.{l}.{name}.LayerNorm");
        parts.extend(norm(folder, &format!("encoder.{l}.{param}"), &name, d)?);
    }
    Ok(parts)
}

/// Gain and bias of a norm.
fn norm(folder: &Folder, param: &str, name: &str, d: usize) -> Result<[Part; 2]> {
    let one = |of: &str, new: &str, old: &str| {
        let known = [new, old].map(|ending| format!("{name}.{ending}"));
        let name = known.iter().find(|name| tensor_of(folder, name).is_some()).unwrap_or(&known[0]);
        part(folder, format!("{param}.{of}"), name, [d])
    };
    Ok([one("gain", "weight", "gamma")?, one("bias", "bias", "beta")?])
}

/// A parameter that is read from the tensor `name`, which must be there and have this shape.
fn part<const N: usize>(folder: &Folder, param: String, name: &str, shape: [usize; N]) -> Result<Part> {
    let tensor = tensor_of(folder, name).unwrap_or_else(|| name.to_string());
    folder.check(&tensor, &shape)?;
    Ok(Part { param, tensor, shape: shape.to_vec() })
}

/// What the tensor `name` is called in the folder, if it is there.
fn tensor_of(folder: &Folder, name: &str) -> Option<String> {
    [name.to_string(), format!("bert.{name}")].into_iter().find(|name| folder.has(name))
}
