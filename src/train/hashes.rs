//! Hashes of the trained parameters, which a run keeps so that another training can be compared with it step by step.

use crate::device::{Device, RunOptions, Runner, Store};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::plan::Options;
use crate::kernels::Cost;
use crate::kernels::hash::Hash;
use crate::nn::Params;
use crate::tensor::Data;
use serde::{Deserialize, Serialize};

/// A line of hashes.jsonl.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HashLine {
    Begun(Begun),
    Reading(Reading),
}

/// What the readings after it were made by and of: once for each process that trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Version of this program.
    pub wgrec: String,
    pub device: String,
    /// Fingerprint of the data set.
    pub data: String,
    /// Names of the trained parameters.
    pub parameters: Vec<String>,
}

/// The trained parameters after a step; of step 0, what the training starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub step: u64,
    /// Of the step's last batch; none of step 0, and where it is not finite (f16).
    pub loss: Option<f64>,
    /// Of each of [`Begun::parameters`], 16 hexadecimal digits.
    pub hashes: Vec<String>,
}

/// What the hashes may cost: this share of the bytes that the steps between two of them move.
const SHARE: f64 = 0.01;

/// Hashes the trained parameters of a store on its device.
pub struct Hasher {
    runner: Runner,
    /// Steps between two hashes that are taken within an epoch, if the losses of all are read.
    period: u64,
}

impl Hasher {
    const RESULT: &str = "hashes";

    /// Of the parameters called `names`. `step`: the cost of a training step; `every`: steps between two readings of the loss.
    ///
    /// # Errors
    /// A device that cannot hold the plan.
    pub fn new(
        (device, store): (&Device, &Store),
        params: &Params,
        names: &[String],
        step: Cost,
        every: u64,
    ) -> Result<Hasher> {
        let g = Graph::new();
        let all: Vec<_> = names.iter().map(|name| params.stored(&g, name)).collect();
        g.result(Hasher::RESULT, g.push(Hash, &all));
        let plan = device.plan(&g, Options::default())?;
        let allowed = SHARE * step.bytes as f64 * every as f64;
        let readings = (plan.cost().bytes as f64 / allowed).ceil().max(1.0);
        let period = every.saturating_mul(readings as u64);
        Ok(Hasher { runner: device.compile(&plan, store, RunOptions::default())?, period })
    }

    /// Whether hashes are taken after `step`, the loss of which is read.
    pub fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.period)
    }

    /// The parameters as they are after `step`, with its `loss`.
    pub fn read(&mut self, step: u64, loss: Option<f64>) -> Result<Reading> {
        self.runner.run()?;
        let Data::U32(words) = self.runner.read(Hasher::RESULT)?.data else {
            return Err(Error::Failed("hashes are no integers: a bug of wgrec".to_string()));
        };
        let hashes = words.chunks_exact(2).map(|word| format!("{:08x}{:08x}", word[0], word[1])).collect();
        Ok(Reading { step, loss, hashes })
    }
}
