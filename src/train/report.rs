//! What a training says while it runs: lines, and on a terminal a bar for the epoch in hand.

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Where the lines of a run go. Nobody listening is no reason to end a training: what cannot be written is dropped.
pub struct Report {
    out: Box<dyn Write>,
    bars: Bars,
    bar: Option<ProgressBar>,
    /// The last speed and loss.
    last: Option<String>,
    /// When the epoch in hand was last told.
    told: Option<Instant>,
}

/// Who shows the epoch in hand.
enum Bars {
    Nobody,
    /// The terminal of the standard error.
    Terminal,
    Told(Box<dyn FnMut(&str)>),
}

/// How often a bar changes.
const HZ: u8 = 5;

impl Report {
    /// Lines to the standard output; a bar on the standard error where that is a terminal.
    pub fn standard() -> Report {
        let bars = if io::stderr().is_terminal() { Bars::Terminal } else { Bars::Nobody };
        Report { bars, ..Report::to(io::stdout()) }
    }

    /// No lines, only the bar.
    pub fn bar() -> Report {
        Report { out: Box::new(io::sink()), ..Report::standard() }
    }

    /// Lines to `out`, no bar.
    pub fn to(out: impl Write + 'static) -> Report {
        Report { out: Box::new(out), bars: Bars::Nobody, bar: None, last: None, told: None }
    }

    /// Lines to `out`. `show` is given the bar of the epoch in hand as a text, some times a second, and an empty text at its end.
    pub fn told(out: impl Write + 'static, show: impl FnMut(&str) + 'static) -> Report {
        Report { bars: Bars::Told(Box::new(show)), ..Report::to(out) }
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
        let target = match self.bars {
            Bars::Nobody => return,
            Bars::Terminal => ProgressDrawTarget::stderr_with_hz(HZ),
            Bars::Told(_) => ProgressDrawTarget::hidden(),
        };
        let style = "epoch {prefix:<3} {bar:20.cyan/dim} {pos}/{len}  {msg}  {eta} left";
        let style = ProgressStyle::with_template(style).expect("a valid template").progress_chars("━━─");
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        bar.set_style(style);
        bar.set_prefix(epoch.to_string());
        bar.set_position(done);
        bar.reset_eta();
        bar.set_message(self.last.clone().unwrap_or_default());
        self.bar = Some(bar);
    }

    /// Moves the bar.
    pub fn step(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
        if self.told.is_none_or(|told| told.elapsed() >= Duration::from_secs(1) / HZ as u32) {
            self.tell();
        }
    }

    /// Tells the bar where somebody else shows it.
    fn tell(&mut self) {
        let (Some(bar), Bars::Told(show)) = (&self.bar, &mut self.bars) else { return };
        let (done, steps) = (bar.position(), bar.length().unwrap_or(0).max(1));
        let full = (20 * done.min(steps) / steps) as usize;
        let (full, rest) = ("━".repeat(full), "─".repeat(20 - full));
        let (epoch, message, eta) = (bar.prefix(), bar.message(), HumanDuration(bar.eta()));
        show(&format!("epoch {epoch:<3} {full}{rest} {done}/{steps}  {message}  {eta:#} left"));
        self.told = Some(Instant::now());
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

    fn say(&mut self, with: Option<&str>) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.last.as_deref().into_iter().chain(with).collect::<Vec<_>>().join("  "));
        }
        if with.is_some() {
            self.tell();
        }
    }

    /// Takes the bar away.
    pub fn end_epoch(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            if let Bars::Told(show) = &mut self.bars {
                show("");
            }
        }
    }
}

/// `61,200 samples/s  loss 0.3127`
pub fn speed(samples_per_second: f64, loss: f64) -> String {
    format!("{} samples/s  loss {loss:.4}", HumanCount(samples_per_second as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn somebody_else_shows_the_epoch_in_hand() {
        let told = Rc::new(RefCell::new(vec![]));
        let heard = told.clone();
        let mut report = Report::told(io::sink(), move |bar| heard.borrow_mut().push(bar.to_string()));
        report.begin_epoch(3, 40, 0);
        report.step(20);
        // Within the same moment.
        report.step(21);
        report.busy("validating");
        report.end_epoch();
        report.step(22);
        let told = told.borrow();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("epoch 3   ━━━━━━━━━━────────── 20/40  "), "{told:?}");
        assert!(told[1].contains("21/40  validating") && told[2].is_empty(), "{told:?}");
    }
}
