//! `wgrec verify`

use std::fmt::Write;
use std::path::PathBuf;
use wgrec::config::Config;
use wgrec::text::counted;
use wgrec::train::verify::{Difference, Made, verify};
use wgrec::train::{Outcome, Report, RunFolder, Verified};
use wgrec::{Error, Result};

/// Train the first epochs of a run again and say whether the parameters are the same to the bit, or from which step they differ
///
/// The run is as it was afterwards. Exit code 0 if it is reproduced, to the bit or within the tolerance; 1 if not.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Epochs of each phase that are trained again
    #[arg(long, value_name = "N", default_value_t = 1)]
    epochs: u64,
    /// Of a run that was tuned to several behaviours, the one to verify [default: that of its config.toml]
    #[arg(long, value_name = "NAME")]
    behaviour: Option<String>,
    /// Train again with another setting, to see from which step on it changes something, as in --set seed=2
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Data, where it is no longer at the path it was trained from
    #[arg(long, value_name = "PATH|NAME", value_parser = super::text_path)]
    data: Option<PathBuf>,
    /// auto, cpu, gpu or gpu:N [default: the run's]
    #[arg(long)]
    device: Option<String>,
}

pub fn run(args: Args) -> Result<()> {
    if args.epochs == 0 {
        return Err(Error::Usage("--epochs: found 0; expected at least 1".to_string()));
    }
    let mut folder = RunFolder::open(&args.run)?;
    folder.find_behaviour(args.behaviour.as_deref())?;
    let was = folder.config()?;
    let mut config = was.clone();
    config.device = args.device.clone().unwrap_or(config.device);
    config.data.path = args.data.clone().or(config.data.path);
    let config = args.set.iter().try_fold(config, |config, setting| config.with_setting(setting))?;
    folder.check_data(&config)?;
    let stop = super::stop_by_signals(|| super::command_line(&[]))?;
    let repeated = verify(&folder, &config, args.epochs, &stop, &mut Report::bar())?;

    let mut text = format!("{:<8} {} of {}\n", "run", config.model.name(), args.run.display());
    text += &circumstances(&was, &config, &repeated.phases[0].made);
    for verified in &repeated.phases {
        if let Some(phase) = &verified.phase {
            let _ = writeln!(text, "{:<8} {phase}", "phase");
        }
        let _ = writeln!(text, "{:<8} {}", "compared", compared(verified));
        let _ = writeln!(text, "{:<8} {}", "verdict", verdict(&verified.outcome));
        let [there, here] = &verified.made;
        if matches!(verified.outcome, Outcome::Near { .. })
            && (&there.device, &there.wgrec) == (&here.device, &here.wgrec)
        {
            let _ = writeln!(text, "{:<8} the same processor, driver and program would give the same bits", "");
        }
    }
    for (phase, why) in &repeated.left_out {
        let _ = writeln!(text, "{:<8} {phase} is not verified: {why}", "");
    }
    super::print(&text)?;
    match repeated.phases.last().map(|last| &last.outcome) {
        Some(Outcome::Different(_)) => Err(Error::Failed(format!("{} is not reproduced", args.run.display()))),
        _ => Ok(()),
    }
}

/// What the run was trained by and on, what it was repeated by, and the settings that are others.
fn circumstances(was: &Config, is: &Config, [there, here]: &[Made; 2]) -> String {
    let mut text = String::new();
    for (name, made) in [("trained", there), ("again", here)] {
        let unknown = || "unknown".to_string();
        let (device, wgrec) = (made.device.clone().unwrap_or_else(unknown), made.wgrec.clone().unwrap_or_else(unknown));
        let data = made.data.as_deref().map_or("unknown", |data| data.get(..12).unwrap_or(data));
        let _ = writeln!(text, "{name:<8} by {device}, wgrec {wgrec}, on the data {data}");
    }
    if there.data != here.data {
        let _ = writeln!(text, "{:<8} the data are not those of the run", "");
    }
    for (key, was, is) in was.differences(is).into_iter().filter(|(key, ..)| key != "device" && key != "data.path") {
        let _ = writeln!(text, "{:<8} {key}: {is} in place of {was}", "");
    }
    text
}

/// `epoch 1, 310 steps: 8 readings of the parameters and the loss; the metrics of the epoch; the checkpoint`
fn compared(verified: &Verified) -> String {
    let Verified { epochs, steps, readings, files, .. } = verified;
    if *epochs == 0 {
        return "the parameters of the model, which counts".to_string();
    }
    let mut text = match epochs {
        1 => format!("epoch 1, {}: ", counted(*steps as usize, "step")),
        n => format!("epochs 1 to {n}, {}: ", counted(*steps as usize, "step")),
    };
    text += &match readings {
        0 => "the run has no hashes; the loss and the metrics of each epoch".to_string(),
        n => format!("{} of the parameters and the loss, the metrics of each epoch", counted(*n, "reading")),
    };
    for file in files {
        let _ = write!(text, ", the {file}");
    }
    text
}

fn verdict(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Equal => "equal to the bit".to_string(),
        Outcome::Near { first, loss, metric } => format!(
            "equal within tolerance: the loss within {loss:.1e} of itself, metrics within {metric:.1e}; the bits differ {}",
            since(first)
        ),
        Outcome::Different(first) => format!("different {}", since(first)),
    }
}

/// `from step 51 to 100 on: item_embedding and 11 others`
fn since(first: &Difference) -> String {
    let Difference { equal_after, step, what } = first;
    let when = match equal_after {
        None if *step == 0 => "before the first step".to_string(),
        after => match after.map_or(1, |after| after + 1) {
            from if from >= *step => format!("from step {step} on"),
            from => format!("from one of the steps {from} to {step} on"),
        },
    };
    let (first, others) = what.split_first().expect("something differs");
    match others.len() {
        0 => format!("{when}: {first}"),
        n => format!("{when}: {first} and {}", counted(n, "other")),
    }
}
