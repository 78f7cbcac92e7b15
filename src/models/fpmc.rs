//! FPMC: Rendle, Freudenthaler, Schmidt-Thieme, "Factorizing personalized Markov chains for next-basket recommendation" (WWW 2010).
//!
//! | of the paper | function |
//! |---|---|
//! | equation 5, the score of an item i after the item l for a user u: <UI_u, IU_i> + <IL_i, LI_l> | `user`, `output_embedding` |
//! | equation 12, S-BPR | [`super::loss`], kind `bpr` |
//!
//! Baskets hold one item. The term of user and last item, which changes no order, is left out, as in the paper. IU and IL lie side
//! by side in one table. A user whom the training did not have is 0: what is left is the chain. Start values: N(0, 2 / (rows +
//! d)) (Glorot).

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model, Output, Reads};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};

/// Settings of FPMC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of each of the four tables, d.
    #[schemars(range(min = 1, max = 32768))]
    pub dim: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64 }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Fpmc::new(self.clone(), task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "fpmc",
    title: "a user's taste, and what follows the last item",
    paper: "Rendle, Freudenthaler, Schmidt-Thieme, \"Factorizing personalized Markov chains for next-basket recommendation\" (WWW 2010)",
    loss: Some(LossKind::Bpr),
    presets: &[Preset { name: "paper", settings: &["loss.kind=bpr", "model.dim=32"] }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Fpmc {
    users: usize,
    items: usize,
    params: Params,
}

impl Fpmc {
    pub fn new(settings: Settings, task: &Task) -> Fpmc {
        let (&Task { users, items, .. }, d) = (task, settings.dim);
        let init = |rows: usize| Init::Normal((2.0 / (rows + d) as f64).sqrt());
        let mut params = task.params();
        params.add("user_embedding", [users + 1, d], init(users));
        params.add("item_embedding", [items + 1, d], init(items));
        params.add("output_embedding", [items + 1, 2 * d], init(items));
        Fpmc { users, items, params }
    }
}

impl Model for Fpmc {
    fn name(&self) -> &'static str {
        "fpmc"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn reads(&self) -> Reads {
        Reads { users: self.users, ..Reads::default() }
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn output<'g>(&self, g: &'g Graph) -> Option<Output<'g>> {
        let table = self.params.var(g, "output_embedding");
        Some(Output { table, bias: None, classes: 1..self.items + 1, cosine: false })
    }

    /// UI_u and LI_l side by side, \[B, 2 d\].
    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let user = history.of_users(&self.params);
        g.concat(1, &[user, history.most_recent(history.embed(self.item_table(g)))])
    }
}
