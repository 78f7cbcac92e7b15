//! What a phase asks of settings, model and data before it begins.

use super::Session;
use crate::config::TrainConfig;
use crate::data::{EvalBatches, EvalSpec, Part};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::models::phase::Replaces;
use crate::models::{LossKind, Model};
use crate::nn::Tower;
use crate::optim::matches;

impl Session {
    /// An error unless there is something to validate by that can be ranked, and in the last phase something to test by.
    pub fn check_asked(&self) -> Result<()> {
        let parts = if self.is_tested() { &[Part::Valid, Part::Test][..] } else { &[Part::Valid] };
        let Session { config, data, split, .. } = self;
        if let Some(part) = parts.iter().find(|part| split.targets(data, **part).next().is_none()) {
            return Err(Error::Usage(format!("nothing to evaluate in the {part} part: {}", split.describe(data))));
        }
        let (sampled, keep_all) = (config.eval.sampled(), config.eval.ranks_all());
        let spec = EvalSpec { sampled, keep_all, ..EvalSpec::default() };
        parts.iter().try_for_each(|part| EvalBatches::check(data, split, *part, &spec))
    }

    /// An error where an evaluation batch is larger than what kernels count in 32 bits.
    pub(in crate::train) fn check_evaluation(&self) -> Result<()> {
        let read = self.model.window(self.config.data.max_len, self.data.longest());
        check_size("eval.batch x data.max_len", &[self.config.eval.batch, read])
    }

    /// Checks what only a training asks of the settings.
    ///
    /// # Errors
    /// A batch that is larger than what kernels count in 32 bits; more items than a loss can tell apart; names of parameters
    /// that do not exist.
    pub fn check_training(&self) -> Result<()> {
        let Session { config, data, model, .. } = self;
        if model.counts() {
            return Ok(());
        }
        if !self.beside.is_empty() && config.train.accumulate > 1 {
            let (key, found) = (self.key("accumulate"), config.train.accumulate);
            let why = "expected 1: an update takes a batch of each task already";
            return Err(Error::Usage(format!("{key}: found {found}; {why}")));
        }
        if self.phase().replaces == Replaces::All && config.train.only.is_some() {
            let why = "a later task takes all that the task before it has trained";
            return Err(Error::Usage(format!(
                "{}: found some in {}; expected none: {why}",
                self.key("only"),
                self.phase().name
            )));
        }
        let (batch, window, negatives) = (config.train.batch, config.data.max_len, config.train.negatives);
        let loss = self.loss();
        let of_batch = self.key("batch");
        check_size(
            &format!("{of_batch} x data.max_len x the model's largest width"),
            &[batch, window, model.widest()],
        )?;
        if loss.kind.is_sampled() && !loss.config.shared {
            let targets = model.samples().targets(window);
            let dim = model.params().iter().map(|p| p.shape.last_dim()).next().unwrap_or(1);
            let what = format!("{of_batch} x targets x {} x model.dim", self.key("negatives"));
            check_size(&what, &[batch, targets, negatives, dim])?;
        }
        if !config.loss.cold_negatives && !computes_items(&**model) {
            let why = format!("items of {} are not scored by features, and cold ones would stay random", model.name());
            return Err(Error::Usage(format!("loss.cold_negatives: found false; expected true, since {why}")));
        }
        let items = data.items() - loss.cold.len();
        if loss.kind.is_sampled() && negatives >= items {
            let key = self.key("negatives");
            return Err(Error::Usage(format!(
                "{key}: found {negatives}; expected fewer than the {items} items, of which a target is one"
            )));
        }
        if let Some((what, factors)) = model.counted(batch, window) {
            check_size(what, &factors)?;
        }
        if loss.kind == LossKind::Softmax && model.output(&Graph::new()).is_none() {
            let problem = format!(
                "loss.kind: found softmax; expected another: the scores of {} are no dot products",
                model.name()
            );
            return Err(Error::Usage(problem));
        }
        // Ids are compared as f32 there.
        let compared = loss.kind == LossKind::InBatch || loss.kind == LossKind::SampledSoftmax && loss.config.shared;
        if compared && data.items() >= 1 << 24 {
            let (items, most) = (data.items(), 1 << 24);
            return Err(Error::Usage(format!(
                "loss.kind={} with negatives for all rows: found {items} items; expected fewer than {most}",
                loss.kind
            )));
        }
        model.given()?;
        if !self.phase().untrained && !model.params().iter().any(|p| self.optimiser().trains(&p.name)) {
            let (only, names) = (&config.train.only, names(&**model));
            return Err(Error::Usage(format!(
                "{}: {} are like no parameter's name; the names are {names}",
                self.key("only"),
                only.iter().flatten().map(|pattern| format!("{pattern:?}")).collect::<Vec<_>>().join(", ")
            )));
        }
        let patterns = &config.train.no_decay;
        let given = *patterns != TrainConfig::default().no_decay && !patterns.is_empty();
        if given && !model.params().iter().any(|p| patterns.iter().any(|pattern| matches(pattern, &p.name))) {
            let names = names(&**model);
            return Err(Error::Usage(format!(
                "{}: {patterns:?} are like no parameter's name; the names are {names}",
                self.key("no_decay")
            )));
        }
        Ok(())
    }
}

impl Session {
    /// The key under which a setting of [`TrainConfig`] in effect is set.
    fn key(&self, name: &str) -> String {
        match self.experiment.config.overrides(&self.phase().name, name) {
            true => format!("phase.{}.{name}", self.phase().name),
            false => format!("train.{name}"),
        }
    }
}

/// Whether a model scores items by what it computes from their features.
fn computes_items(model: &dyn Model) -> bool {
    let g = Graph::new();
    let scored = || model.output(&g).is_none_or(|output| output.table.is(model.item_table(&g)));
    model.params().tower().is_some_and(Tower::computes_items) && scored()
}

/// The names of a model's parameters.
fn names(model: &dyn Model) -> String {
    model.params().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// An error where a product of counts is more than what kernels count in 32 bits.
fn check_size(what: &str, counts: &[usize]) -> Result<()> {
    let (size, most) = (counts.iter().map(|&n| n as f64).product::<f64>(), u32::MAX as f64);
    if size <= most {
        return Ok(());
    }
    Err(Error::Usage(format!("{what}: found {size:.3e}; expected at most {most:.3e}: lower one of them")))
}
