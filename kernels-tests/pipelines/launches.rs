//! Which launches there are: of the self-check, the tests' cases, the benches and the models.

use crate::cases;
use crate::harness;
use std::collections::BTreeSet;
use wgrec::config::Config;
use wgrec::device::gpu::{Gpu, bind};
use wgrec::device::{Device, check};
use wgrec::graph::Graph;
use wgrec::graph::plan::{Options, Plan, Planned};
use wgrec::kernels::example::Scale;
use wgrec::kernels::{Caps, KERNELS, Launch};
use wgrec::models::MODELS;
use wgrec::models::{FeatureCounts, Loss, LossKind, Task, spec::Behaviours};
use wgrec::optim::Adam;
use wgrec::train::step::{Role, StepConfig, TrainStep};
use wgrec::{Error, Result};

type Launches = Vec<(Planned, Launch)>;

fn add(all: &mut Launches, plan: Plan, caps: &Caps) -> Result<()> {
    for node in plan.nodes {
        all.extend(bind::launches(&node, caps)?.into_iter().map(|launch| (node.clone(), launch)));
    }
    Ok(())
}

/// The launches of `wgrec devices`.
pub fn of_self_check(gpu: &Gpu) -> Result<Launches> {
    let mut all = vec![];
    for plan in check::plans(&Device::Gpu(gpu.clone()))? {
        add(&mut all, plan, gpu.caps())?;
    }
    Ok(all)
}

/// The launches of the tests' cases, the benches and the models on a device of `caps`.
pub fn all(caps: &Caps) -> Result<Launches> {
    let mut all = vec![];
    // In f32 and, where the device has it, in f16.
    let precisions = || [false, true].into_iter().filter(|half| !half || caps.f16);
    for case in cases::ALL.iter().flat_map(|(_, cases)| cases()) {
        for half in precisions() {
            let options = Options { half, no_fuse: half, ..Options::default() };
            all.extend(harness::run::launches(&case, caps, options)?);
        }
    }
    for example in KERNELS.iter().flat_map(|kernel| (kernel.examples)(Scale::Full)) {
        for half in precisions() {
            add(&mut all, example.plan(false, half)?, caps)?;
        }
    }
    for step in steps()? {
        for half in precisions() {
            add(&mut all, Plan::new(&step, Options { half, ..Options::default() })?, caps)?;
        }
    }
    Ok(all)
}

/// Training steps of the models at widths that people use, but of those that need more of a data set than a task here has.
fn steps() -> Result<Vec<Graph>> {
    let kinds = [LossKind::Bpr, LossKind::Bce, LossKind::Softmax, LossKind::SampledSoftmax, LossKind::InBatch];
    let (mut steps, mut models) = (vec![], BTreeSet::new());
    for (dim, heads, max_len) in [(64, 1, 50), (64, 2, 200), (128, 4, 100), (256, 4, 50)] {
        let learning = MODELS.iter().filter(|spec| spec.loss.is_some());
        for (spec, kind) in learning.flat_map(|spec| kinds.map(|kind| (spec, kind))) {
            let is_tuned = spec.behaviours == Behaviours::Always;
            let settings = [("dim", dim), ("heads", heads)].into_iter().filter(|(key, _)| spec.has(key));
            let config = settings.fold(Config::of(spec.name), |config, (key, value)| {
                config?.with_setting(&format!("model.{key}={value}"))
            })?;
            let task = Task {
                users: 10_000,
                items: 20_000,
                max_len,
                behaviours: if is_tuned { 4 } else { 0 },
                target: is_tuned.then_some(2),
                features: match is_tuned {
                    true => FeatureCounts { attributes: 2, statistics: 2, rows: 70 },
                    false => FeatureCounts::default(),
                },
                phase: config.model.phases(is_tuned)?.pop().unwrap_or_default(),
                ..Task::default()
            };
            let Ok(model) = config.model.build(&task) else { continue };
            if kind == LossKind::Softmax && model.output(&Graph::new()).is_none() {
                continue;
            }
            let config = StepConfig {
                batch: 256,
                max_len,
                negatives: if kind == LossKind::SampledSoftmax { 100 } else { 1 },
                loss: Loss { kind, ..Loss::default() },
                optimiser: Adam { clip: Some(5.0), weight_decay: 1e-6, ..Adam::default() },
                ..StepConfig::default()
            };
            let graph = Graph::new();
            // Not every model learns by every loss.
            if TrainStep::trace(&graph, &*model, &config, Role::Update).is_ok() {
                steps.push(graph);
                models.insert(spec.name);
            }
        }
    }
    match 2 * models.len() > MODELS.len() {
        true => Ok(steps),
        false => Err(Error::Failed(format!("of the models only these train here: {models:?}"))),
    }
}
