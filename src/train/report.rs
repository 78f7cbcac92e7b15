//! What a training says while it runs: lines, and on a terminal a bar for the epoch in hand.

use indicatif::HumanCount;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};

/// Where the lines of a run go. Nobody listening is no reason to end a training: what cannot be written is dropped.
pub struct Report {
    out: Box<dyn Write>,
    bars: bool,
    bar: Option<ProgressBar>,
    /// The last speed and loss.
    last: Option<String>,
}

impl Report {
    /// Lines to the standard output; a bar on the standard error where that is a terminal.
    pub fn standard() -> Report {
        Report { out: Box::new(io::stdout()), bars: io::stderr().is_terminal(), bar: None, last: None }
    }

    /// No lines, only the bar.
    pub fn bar() -> Report {
        Report { out: Box::new(io::sink()), ..Report::standard() }
    }

    /// Lines to `out`, no bar.
    pub fn to(out: impl Write + 'static) -> Report {
        Report { out: Box::new(out), bars: false, bar: None, last: None }
    }

    /// A line under a heading of at most eight letters.
    pub fn line(&mut self, heading: &str, text: &str) {
        let Report { out, bar, .. } = self;
        let mut write = || {
            let _ = writeln!(out, "{heading:<8} {text}").and_then(|()| out.flush());
        };
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Starts the bar of an epoch (from 1) that is trained for up to `steps` steps; `done` are done.
    pub fn begin_epoch(&mut self, epoch: u64, steps: u64, done: u64) {
        if self.bars {
            let style = "epoch {prefix:<3} {bar:20.cyan/dim} {pos}/{len}  {msg}  {eta} left";
            let style = ProgressStyle::with_template(style).expect("a valid template").progress_chars("━━─");
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(5));
            bar.set_style(style);
            bar.set_prefix(epoch.to_string());
            bar.set_position(done);
            bar.reset_eta();
            bar.set_message(self.last.clone().unwrap_or_default());
            self.bar = Some(bar);
        }
    }

    /// Moves the bar.
    pub fn step(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// Whether there is a bar that has no speed to show yet.
    pub fn awaits_speed(&self) -> bool {
        self.bar.is_some() && self.last.is_none()
    }

    /// Shows speed and loss next to the bar, until there are new ones.
    pub fn speed(&mut self, samples_per_second: f64, loss: f64) {
        self.last = Some(speed(samples_per_second, loss));
        self.say(None);
    }

    /// Shows next to the bar what is done after the last step.
    pub fn busy(&mut self, with: &'static str) {
        self.say(Some(with));
    }

    fn say(&self, with: Option<&str>) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.last.as_deref().into_iter().chain(with).collect::<Vec<_>>().join("  "));
        }
    }

    /// Takes the bar away.
    pub fn end_epoch(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// `61,200 samples/s  loss 0.3127`
pub fn speed(samples_per_second: f64, loss: f64) -> String {
    format!("{} samples/s  loss {loss:.4}", HumanCount(samples_per_second as u64))
}
