//! Phases that no model has yet: a training that takes parameters from a run on other data. And those of TiMiRec, which learn from
//! the same events.

mod program;

use program::Bench;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use wgrec::config::Config;
use wgrec::models::phase::{Phase, Take};
use wgrec::models::spec::{self, SettingsType};
use wgrec::models::{Model, ModelConfig, ModelSpec, Task, sasrec};
use wgrec::tensor::Tensor;
use wgrec::train::{Experiment, FitOptions, Report, RunFolder, Session, fit};
use wgrec::{Error, Result};

/// SASRec, trained on one data set and adapted to another.
#[derive(Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
struct Adapted(sasrec::Settings);

impl spec::Settings for Adapted {
    fn phases(&self, _behaviours: bool) -> Result<Vec<Phase>> {
        let take = Take::from("train").but("position_embedding").of_other_data();
        let adapt = Phase::new("adapt").takes(take).trains("*_embedding").select("recall@5");
        Ok(vec![Phase::new("train"), adapt])
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        self.0.build(task)
    }
}

static SPEC: ModelSpec = ModelSpec { settings: SettingsType::of::<Adapted>(), ..sasrec::SPEC };

fn config(world_seed: u64, items: usize, phase: &str) -> Config {
    let settings = sasrec::Settings { dim: 8, layers: 1, ..sasrec::Settings::default() };
    let mut config = Config::with_model(ModelConfig::new(&SPEC, Adapted(settings)));
    (config.device, config.world_seed, config.data.max_len) = ("cpu".to_string(), world_seed, 6);
    let world = &mut config.world;
    (world.users, world.items, world.clusters) = (60, items, 8);
    (world.length_min, world.length_median, world.length_max) = (5, 8.0, 20);
    (config.train.batch, config.train.max_steps) = (32, Some(4));
    config.phases = Some(vec![phase.to_string()]);
    config
}

fn train(config: &Config, folder: &RunFolder) -> Result<()> {
    fit::train(config, folder, FitOptions::default(), &mut Report::to(std::io::sink())).map(drop)
}

/// The parameters of the last phase that `config` runs, as `fill` leaves them.
fn parameters(
    config: &Config,
    fill: impl Fn(&Session, &mut wgrec::device::Store) -> Result<()>,
) -> Result<Vec<(String, Tensor)>> {
    let experiment: Arc<Experiment> = Experiment::open(config.clone())?;
    let session = Session::last_of(&experiment)?;
    let mut store = session.store(None)?;
    fill(&session, &mut store)?;
    session.model.params().iter().map(|p| Ok((p.name.clone(), session.model.params().read(&store, &p.name)?))).collect()
}

#[test]
fn a_phase_takes_from_a_run_on_other_data_but_nothing_with_a_row_for_each_item() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| RunFolder::new(&folder.path().join(name)).unwrap());
    let trained = config(1, 60, "train");
    train(&trained, &first).unwrap();
    assert!(first.path().join("train.json").is_file() && first.path().join("train.safetensors").is_file());
    assert!(!first.path().join("metrics.json").exists(), "only the last phase is tested");
    let there = parameters(&trained, |session, store| session.load_best(&first, store).map(drop)).unwrap();

    let adapted = Config { from: Some(first.path().to_path_buf()), ..config(2, 70, "adapt") };
    let start = parameters(&adapted, |session, store| {
        assert_eq!(session.config.eval.metric.to_string(), "recall@5");
        session.start(&second, store)
    });
    let start = start.unwrap();
    let drawn = parameters(&adapted, |session, store| session.model.params().initialise(store, 1)).unwrap();
    let mut taken = 0;
    for (((name, started), (_, drawn)), (_, there)) in start.iter().zip(&drawn).zip(&there) {
        let own = name.ends_with("_embedding");
        assert!(started == if own { drawn } else { there }, "{name}");
        taken += (!own && there != drawn) as usize;
    }
    assert!(taken > 0, "what is taken was trained");

    // The phase's file holds all, since the other run's is of another catalogue; what is not trained keeps its bits.
    train(&adapted, &second).unwrap();
    assert!(second.path().join("metrics.json").is_file() && !second.path().join("train.safetensors").exists());
    let end = parameters(&adapted, |session, store| session.load_best(&second, store).map(drop)).unwrap();
    for ((name, started), (_, ended)) in start.iter().zip(&end) {
        assert_eq!(started == ended, !name.ends_with("_embedding"), "{name}");
    }
}

#[test]
fn what_is_not_there_or_does_not_fit_is_refused_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let refuses = |config: &Config, expected: &str| {
        let error = fit::open(config, None).err().unwrap_or_else(|| panic!("{expected}"));
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains(expected), "{error}");
    };
    let from = |path: &Path| Config { from: Some(path.to_path_buf()), ..config(2, 70, "adapt") };
    refuses(&from(folder.path()), "no run is here");
    let first = RunFolder::new(&folder.path().join("first")).unwrap();
    train(&config(1, 60, "train"), &first).unwrap();
    fit::open(&from(first.path()), None).unwrap();
    let mut wider = from(first.path());
    let settings = sasrec::Settings { dim: 16, layers: 1, ..sasrec::Settings::default() };
    wider.model = ModelConfig::new(&SPEC, Adapted(settings));
    refuses(&wider, "model.dim is 8 in ");
    std::fs::remove_file(first.path().join("train.json")).unwrap();
    refuses(&from(first.path()), "the phase train has not come to its end here (there is no train.json)");
}

/// A run's tensors by name, as its checkpoint has them.
fn checkpoint(bench: &Bench, run: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(bench.path(run).join("checkpoint/last.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = tensors.iter().map(|(name, view)| (name.to_string(), view.data().to_vec())).collect();
    all.sort();
    all
}

#[test]
fn the_second_phase_of_timirec_resumes_to_the_same_bits() {
    let bench = Bench::new();
    let steps = |steps: &'static str| [steps, "--set=train.checkpoint_seconds=0"];
    bench.train("timirec", "whole", &steps("--set=phase.tune.max_steps=30"));
    bench.train("timirec", "later", &steps("--set=phase.tune.max_steps=17"));
    assert!(checkpoint(&bench, "whole") != checkpoint(&bench, "later"));
    bench.train("timirec", "later", &[&steps("--set=phase.tune.max_steps=30")[..], &["--resume"]].concat());
    assert!(checkpoint(&bench, "whole") == checkpoint(&bench, "later"));
    assert!(bench.lines("whole").iter().all(|line| line["reported"]["distillation"].as_f64() >= Some(-1e-6)));
}

#[test]
fn interests_alone_rank_and_are_taken_with_their_settings() {
    let bench = Bench::new();
    let first = ["--set=phases=[\"pretrain\"]", "--set=model.prompts=2", "--set=model.dispersion=3"];
    bench.train("timirec", "first", &first);
    assert!(!bench.path("first/model.safetensors").exists());
    bench.ok(&["eval", "--run=first"]);
    bench.ok(&["recommend", "--run=first", "--output=recs.csv"]);
    let second = |more: &[&'static str]| {
        let pom = ["--from=first", "--set=model.prompts=2", "--set=model.dispersion=3", "--set=train.max_steps=3"];
        program::small("timirec", "second", &[&pom, more].concat())
    };
    for (setting, key, was, is) in [
        ("--set=model.interests=3", "model.interests", 2, 3),
        ("--set=model.prompts=1", "model.prompts", 2, 1),
        ("--set=model.blocks=2", "model.blocks", 1, 2),
    ] {
        let error = bench.refuses(&second(&[setting]));
        assert!(error.contains(&format!("{key} is {was} in ")), "{error}");
        assert!(error.contains(&format!("first, whose phase pretrain is taken, not {is}")), "{error}");
    }
    // What only the second phase reads.
    let free = ["--set=model.tables=1", "--set=model.layers=3", "--set=model.dropout=0.2", "--set=model.temperature=1"];
    bench.ok(&second(&free));
    bench.ok(&["eval", "--run=second"]);
}

/// The later phase of a model without behaviours would take the place of the run that it starts from.
#[test]
fn a_run_is_not_trained_over_by_one_that_starts_from_it() {
    let bench = Bench::new();
    let few = ["--set=phase.pretrain.max_steps=2", "--set=phase.tune.max_steps=2"];
    bench.train("timirec", "whole", &few);
    let before = bench.model("whole");
    for out in [&[][..], &["--out=whole"]] {
        let args = [&["train", "timirec", "--from=whole", "--data=data.csv", "--set=train.lr=0.5"][..], out].concat();
        let error = bench.refuses(&args);
        assert!(
            error.contains("--from whole: timirec would be trained in the folder of the run")
                && error.contains("--out"),
            "{error}"
        );
    }
    assert!(bench.model("whole") == before && !bench.path("whole/config..toml").exists());
}
