//! Optimisers: from a loss to the nodes that update the parameters.

use crate::error::{Error, Result};
use crate::graph::{Gradient, Graph, Var};
use crate::kernels::adam::{Adam as FlatAdam, AdamRows, Settings};
use crate::kernels::reduce::SumSquares;
use crate::kernels::strided::Pack;
use crate::nn::Params;
use crate::nn::params::Param;
use crate::tensor::{Spec, Tensor};

mod schedule;

pub use schedule::Schedule;

/// Adam over all parameters of a model: one launch for the small ones, one for each table.
#[derive(Clone, Debug)]
pub struct Adam {
    pub settings: Settings,
    pub weight_decay: f64,
    /// Patterns of the parameters that do not decay: see [`matches()`].
    pub no_decay: Vec<String>,
    /// Rows of a table that a step does not touch stay as they are, moments included.
    pub lazy: bool,
    /// The largest norm of all gradients together; larger ones are scaled down.
    pub clip: Option<f64>,
}

impl Default for Adam {
    fn default() -> Adam {
        let no_decay = vec!["*bias".to_string()];
        Adam { settings: Settings::default(), weight_decay: 0.0, no_decay, lazy: false, clip: None }
    }
}

/// Whether `name` is like `pattern`, in which a `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(first) else { return false };
    name.char_indices().map(|(i, _)| i).chain([name.len()]).any(|i| matches(rest, &name[i..]))
}

impl Adam {
    /// The state buffers of the moments: `m.NAME` and `v.NAME` for each buffer of the parameters.
    pub fn states(&self, params: &Params) -> Vec<(String, usize)> {
        let of = |(name, n): (String, usize)| ["m", "v"].map(|moment| (format!("{moment}.{name}"), n));
        params.states().into_iter().flat_map(of).collect()
    }

    /// Adds the gradients of `loss` by the parameters that `trained` names, and their updates. Returns the gradients by
    /// name.
    pub fn update<'g>(
        &self,
        loss: Var<'g>,
        params: &Params,
        trained: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, Gradient<'g>)>> {
        let g = loss.graph();
        let list: Vec<&Param> = params.iter().filter(|p| trained(&p.name)).collect();
        if list.is_empty() {
            return Err(Error::Usage("no parameter is left to train".into()));
        }
        let vars: Vec<Var> = list.iter().map(|p| params.var(g, &p.name)).collect();
        let gradients = g.gradients(loss, &vars)?;
        let dense = self.pack(g, params, &list, &gradients);
        let tables: Vec<(&Param, Gradient)> =
            list.iter().copied().zip(gradients.iter().copied()).filter(|(p, _)| p.buffer != Params::DENSE).collect();
        let scale = self.scale(g, dense, &tables);
        g.scope("adam", || {
            if let Some(dy) = dense {
                let of_dense = |offset| list.iter().find(|p| p.buffer == Params::DENSE && p.offset == offset).copied();
                self.flat(g, Params::DENSE, dy, scale, |block| {
                    let before = |p: &&Param| p.offset <= block * FlatAdam::BLOCK;
                    let owner = params.iter().filter(|p| p.buffer == Params::DENSE).filter(before).last();
                    owner.and_then(|p| of_dense(p.offset))
                })?;
            }
            for (p, gradient) in &tables {
                match gradient {
                    Gradient::Dense(dy) => {
                        let n = p.shape.elements();
                        self.flat(g, &p.buffer, dy.reshape([n]), scale, |_| Some(*p))?;
                    }
                    Gradient::Rows(rows) => {
                        let state = |prefix: &str| {
                            let name = format!("{prefix}{}", p.buffer);
                            g.state(&name, &name, 0, Spec::f32(p.shape.clone()))
                        };
                        let op = AdamRows { settings: self.settings, lazy: self.lazy, decay: self.decay(p) };
                        let inputs =
                            [state(""), state("m."), state("v."), rows.values, rows.rows, rows.counts, g.step(), scale];
                        g.try_push(op, &inputs)?;
                    }
                }
            }
            Ok(list.iter().map(|p| p.name.clone()).zip(gradients).collect())
        })
    }

    fn decay(&self, p: &Param) -> f32 {
        if self.no_decay.iter().any(|pattern| matches(pattern, &p.name)) { 0.0 } else { self.weight_decay as f32 }
    }

    /// The gradients of the small parameters, laid out as the parameters are.
    fn pack<'g>(&self, g: &'g Graph, params: &Params, list: &[&Param], gradients: &[Gradient<'g>]) -> Option<Var<'g>> {
        let len = params.states().iter().find(|(name, _)| name == Params::DENSE)?.1;
        let small = list.iter().zip(gradients).filter(|(p, _)| p.buffer == Params::DENSE);
        let (offsets, parts): (Vec<usize>, Vec<Var>) =
            small.map(|(p, d)| (p.offset, d.dense(params.var(g, &p.name)))).unzip();
        (!parts.is_empty()).then(|| g.push(Pack { offsets, len }, &parts))
    }

    /// What gradients are multiplied with: 1, or less where their norm exceeds the limit.
    fn scale<'g>(&self, g: &'g Graph, dense: Option<Var<'g>>, tables: &[(&Param, Gradient<'g>)]) -> Var<'g> {
        let one = g.constant(Tensor::f32([], vec![1.0]));
        let Some(limit) = self.clip else { return one };
        g.scope("clip", || {
            let squares = tables.iter().map(|(_, gradient)| match gradient {
                Gradient::Dense(dy) => g.push(SumSquares, &[*dy]),
                Gradient::Rows(r) => g.push(SumSquares, &[r.values, r.counts]),
            });
            let all = dense.map(|dy| g.push(SumSquares, &[dy])).into_iter().chain(squares);
            let norm = all.reduce(|a, b| a + b).expect("something is trained").sqrt();
            (g.scalar(limit) / norm.max(g.scalar(limit))).reshape([])
        })
    }

    /// One launch over a whole buffer; `owner` says to which trained parameter a block of 64 elements belongs.
    fn flat<'g, 'p>(
        &self,
        g: &'g Graph,
        buffer: &str,
        dy: Var<'g>,
        scale: Var<'g>,
        owner: impl Fn(usize) -> Option<&'p Param>,
    ) -> Result<()> {
        let n = dy.shape().elements();
        let blocks = n.div_ceil(FlatAdam::BLOCK);
        let rates = (0..blocks).flat_map(|b| owner(b).map_or([0.0, 0.0], |p| [1.0, self.decay(p)])).collect();
        let rates = g.constant(Tensor::f32([blocks, 2], rates));
        let state = |prefix: &str| {
            let name = format!("{prefix}{buffer}");
            g.state(&name, &name, 0, Spec::f32([n]))
        };
        let inputs = [state(""), state("m."), state("v."), dy, rates, g.step(), scale];
        g.try_push(FlatAdam { settings: self.settings }, &inputs)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn patterns() {
        let cases =
            [("*bias", "a.bias", true), ("*bias", "a.bias.b", false), ("a.*.b", "a.x.y.b", true), ("a", "ab", false)];
        for (pattern, name, want) in cases.into_iter().chain([("*", "", true), ("prompts.*", "prompts.1", true)]) {
            assert_eq!(super::matches(pattern, name), want, "{pattern} {name}");
        }
    }
}
