//! What was measured: a table for people, a JSON file to keep, and what changed since an earlier one.

use super::Spread;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::files::replace;
use indicatif::{DecimalBytes, HumanCount};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// Of the JSON file: raised when a field changes its meaning.
pub const FORMAT: u32 = 1;

/// One thing that was timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub sizes: String,
    pub seconds: Spread,
    /// Unique bytes moved and operations in one run; 0 where they are not known.
    pub bytes: u64,
    pub flops: u64,
    /// What bounds it: `copy`, `product`, or `gemm`, the gemm crate at the same extents.
    pub ceiling: Option<String>,
    /// Of what that ceiling allows, 1 being all of it.
    pub share: Option<f64>,
    /// The worst element's distance from f64's, and the sizes that were checked.
    pub worst: Option<f64>,
    pub checked_at: Option<String>,
}

impl Row {
    /// A row that has only seconds.
    pub fn plain(name: &str, sizes: &str, seconds: Spread) -> Row {
        let (name, sizes) = (name.to_string(), sizes.to_string());
        Row { name, sizes, seconds, bytes: 0, flops: 0, ceiling: None, share: None, worst: None, checked_at: None }
    }
}

/// The measurements of one command, and the circumstances that they hold under.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    /// `kernels`, `step sasrec`, ...
    pub what: String,
    pub wgrec: String,
    /// Of the source folder that the program was built in, where that is still there.
    pub commit: Option<String>,
    /// `cpu` or `gpu`.
    pub device: String,
    pub adapter: String,
    pub driver: String,
    pub threads: usize,
    /// Settings that differ from the defaults, and what the data holds, where times depend on them.
    pub settings: BTreeMap<String, Value>,
    pub rows: Vec<Row>,
    /// Figures that are no times, by name: the name says the unit.
    pub facts: BTreeMap<String, f64>,
}

impl Report {
    pub fn new(what: &str, device: &Device) -> Report {
        let (kind, adapter, driver) = match device {
            Device::Cpu(_) => ("cpu", processor(), String::new()),
            Device::Gpu(gpu) => ("gpu", gpu.name(), gpu.driver()),
        };
        Report {
            format: FORMAT,
            what: what.into(),
            wgrec: env!("CARGO_PKG_VERSION").into(),
            commit: commit(),
            device: kind.into(),
            adapter,
            driver,
            threads: rayon::current_num_threads(),
            settings: BTreeMap::new(),
            rows: vec![],
            facts: BTreeMap::new(),
        }
    }

    /// # Errors
    /// A file that is no report, or one of another format.
    pub fn load(path: &Path) -> Result<Report> {
        let text = fs::read(path).map_err(Error::io(path, "read"))?;
        let wrong = |found: String, line: Option<u64>| Error::Input {
            path: path.into(),
            line,
            column: None,
            found,
            expected: format!("what `wgrec bench --json` wrote, format {FORMAT}"),
        };
        let value: Value =
            serde_json::from_slice(&text).map_err(|e| wrong(format!("no JSON ({e})"), Some(e.line() as u64)))?;
        match value["format"].as_u64() {
            Some(format) if format == FORMAT as u64 => {}
            Some(format) => return Err(wrong(format!("format {format}"), None)),
            None => return Err(wrong("JSON without a format".into(), None)),
        }
        serde_json::from_value(value).map_err(|e| wrong(e.to_string(), None))
    }

    /// Writes the JSON file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("plain data") + "\n";
        replace(path, |out| out.write_all(text.as_bytes()))
    }

    /// # Errors
    /// A report whose times say nothing about those of this one: of another command, device, adapter or number of threads, or
    /// of other settings or data.
    pub fn check_comparable(&self, earlier: &Report) -> Result<()> {
        let here = [&self.what, &self.device, &self.adapter];
        let there = [&earlier.what, &earlier.device, &earlier.adapter];
        let names = ["command", "device", "adapter"];
        let mut apart: Vec<String> = names
            .iter()
            .zip(here.into_iter().zip(there))
            .filter(|(_, (now, was))| now != was)
            .map(|(name, (now, was))| format!("{name} {was:?}, not {now:?}"))
            .collect();
        if self.threads != earlier.threads {
            apart.push(format!("{} threads, not {}", earlier.threads, self.threads));
        }
        let keys: BTreeSet<&String> = self.settings.keys().chain(earlier.settings.keys()).collect();
        let value =
            |report: &Report, key: &str| report.settings.get(key).map_or("the default".into(), Value::to_string);
        let changed = keys.into_iter().filter(|key| self.settings.get(*key) != earlier.settings.get(*key));
        apart.extend(changed.map(|key| format!("{key} {}, not {}", value(earlier, key), value(self, key))));
        if apart.is_empty() {
            return Ok(());
        }
        Err(Error::Usage(format!("the earlier measurements cannot be compared with these: {}", apart.join("; "))))
    }

    fn row(&self, name: &str, sizes: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name && row.sizes == sizes)
    }

    /// # Errors
    /// None of `cases` (name, sizes) is in this report.
    pub fn check_shared<'a>(&self, mut cases: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
        if cases.any(|(name, sizes)| self.row(name, sizes).is_some()) {
            return Ok(());
        }
        let theirs: Vec<String> =
            self.rows.iter().take(3).map(|row| format!("{} of {}", row.name, row.sizes)).collect();
        let theirs = if theirs.is_empty() { "nothing".to_string() } else { theirs.join(", ") };
        Err(Error::Usage(format!("the earlier measurements share no case with these; they hold {theirs} ...")))
    }

    /// The device, and what it was measured to do at most.
    pub fn head(&self) -> String {
        let on = match self.device.as_str() {
            "cpu" => format!("{} threads of {}", self.threads, self.adapter),
            _ => format!("{} ({})", self.adapter, self.driver),
        };
        let mut text = format!("{:<8} {} on {on}\n", "bench", self.what);
        if let (Some(copy), Some(product)) =
            (self.facts.get("copy_bytes_per_second"), self.facts.get("product_flops_per_second"))
        {
            let _ =
                writeln!(text, "{:<8} copy {:.2} GB/s, product {:.1} GFLOP/s", "ceilings", copy / 1e9, product / 1e9);
        }
        if self.facts.get("device_timestamps") == Some(&0.0) {
            let _ = writeln!(text, "{:<8} the adapter has no timestamps: times are the host's and hold its calls", "");
        }
        let columns = ["ms", "10% to 90%", "GB/s", "GFLOP/s"];
        let [ms, spread, moved, done] = columns;
        let _ = writeln!(text, "\n{:<20} {:<26} {ms:>10} {spread:>19} {moved:>8} {done:>9}  of", "case", "sizes");
        text
    }

    /// One row of the table under [`Report::head`].
    pub fn line(row: &Row) -> String {
        let Spread { median, low, high, .. } = row.seconds;
        let spread = format!("{} to {}", ms(low), ms(high));
        let rate = |n: u64, digits: usize| {
            if n == 0 { String::new() } else { format!("{:.digits$}", n as f64 / median / 1e9) }
        };
        let of = match (&row.ceiling, row.share) {
            (Some(ceiling), Some(share)) => format!("{:>3.0}% {ceiling}", 100.0 * share),
            _ => String::new(),
        };
        let line = format!(
            "{:<20} {:<26} {:>10} {spread:>19} {:>8} {:>9}  {of}",
            row.name,
            row.sizes,
            ms(median),
            rate(row.bytes, 2),
            rate(row.flops, 1)
        );
        line.trim_end().to_string() + "\n"
    }

    /// The facts that no head shows, a line each.
    pub fn tail(&self) -> String {
        let shown = |name: &str| !["copy_bytes_per_second", "product_flops_per_second"].contains(&name);
        let value = |name: &str, value: f64| match name {
            _ if name.ends_with("bytes") => DecimalBytes(value as u64).to_string(),
            _ if name.ends_with("share") => format!("{:.1}%", 100.0 * value),
            _ if value >= 1000.0 => HumanCount(value.round() as u64).to_string(),
            _ => format!("{value:.2}"),
        };
        let facts = self.facts.iter().filter(|(name, _)| shown(name));
        let lines: String =
            facts.map(|(name, fact)| format!("{:<32} {:>16}\n", name.replace('_', " "), value(name, *fact))).collect();
        if lines.is_empty() { lines } else { format!("\n{lines}") }
    }

    /// The head, all rows, the tail.
    pub fn table(&self) -> String {
        self.head() + &self.rows.iter().map(Report::line).collect::<String>() + &self.tail()
    }

    /// What changed since `earlier`, a line for each case that both have: below 1 is faster now. Only what lies beyond both
    /// spreads is called a change.
    pub fn against(&self, earlier: &Report) -> String {
        let since = earlier.commit.as_deref().unwrap_or("an unknown commit");
        let mut text = format!("\n{:<20} {:<26} {:>10} {:>10} {:>7}\n", "against", since, "was, ms", "is, ms", "ratio");
        if self.driver != earlier.driver {
            let _ = writeln!(text, "the driver was {:?} and is {:?}", earlier.driver, self.driver);
        }
        for row in &self.rows {
            let Some(was) = earlier.row(&row.name, &row.sizes) else { continue };
            let ratio = row.seconds.median / was.seconds.median;
            let flag = match row.seconds.differs(&was.seconds) {
                false => "",
                true if ratio < 1.0 => "  faster",
                true => "  SLOWER",
            };
            let (before, now) = (ms(was.seconds.median), ms(row.seconds.median));
            let _ = writeln!(text, "{:<20} {:<26} {before:>10} {now:>10} {ratio:>7.2}{flag}", row.name, row.sizes);
        }
        let missing = self.rows.iter().filter(|row| earlier.row(&row.name, &row.sizes).is_none()).count();
        if missing > 0 {
            let _ = writeln!(text, "{missing} cases are not in the earlier measurements");
        }
        text
    }
}

/// Milliseconds, four digits of them.
fn ms(seconds: f64) -> String {
    let ms = seconds * 1e3;
    let digits = if ms >= 1000.0 { 0 } else { (3 - ms.max(0.1).log10().floor() as i32).clamp(0, 4) as usize };
    format!("{ms:.digits$}")
}

/// The processor's name, where the system says, and else its architecture.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_string()
}

fn commit() -> Option<String> {
    let folder = env!("CARGO_MANIFEST_DIR");
    // Not a repository around a folder that is not one itself.
    let own = Path::new(folder).join(".git").exists();
    let args = ["-C", folder, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    let output = own.then(|| Command::new("git").args(args).output().ok()).flatten()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rows: &[(&str, f64)]) -> Report {
        let (cpu, _) = Device::open("cpu").unwrap();
        let row = |&(name, ms): &(&str, f64)| {
            let median = ms / 1e3;
            Row::plain(name, "8x8", Spread { runs: 5, median, low: 0.95 * median, high: 1.05 * median })
        };
        Report { rows: rows.iter().map(row).collect(), ..Report::new("kernels", &cpu) }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels.json");
        let mut report = report(&[("softmax", 1.0 / 3.0)]);
        report.facts.insert("copy_bytes_per_second".into(), 1e10 / 3.0);
        report.save(&path).unwrap();
        assert_eq!(Report::load(&path).unwrap(), report);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_changes_beyond_the_spread_are_called_so() {
        let (was, is) = (report(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]), report(&[("a", 1.04), ("b", 1.2), ("c", 0.5)]));
        is.check_comparable(&was).unwrap();
        let text = is.against(&was);
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line("a ").ends_with("1.04") && line("b ").ends_with("1.20  SLOWER"), "{text}");
        assert!(line("c ").ends_with("0.50  faster"), "{text}");
    }

    #[test]
    fn other_circumstances_are_refused() {
        let is = report(&[("softmax", 1.0)]);
        let shared = |was: &Report| was.check_shared(is.rows.iter().map(|r| (r.name.as_str(), r.sizes.as_str())));
        shared(&is).unwrap();
        assert_eq!(shared(&report(&[("attention", 1.0)])).unwrap_err().exit_code(), 2);
        for (was, named) in [
            (Report { adapter: "another".into(), ..is.clone() }, "adapter"),
            (Report { device: "gpu".into(), ..is.clone() }, "device"),
            (Report { threads: 99, ..is.clone() }, "99 threads"),
            (Report { what: "step sasrec".into(), ..is.clone() }, "command"),
        ] {
            let e = is.check_comparable(&was).unwrap_err();
            assert!(e.exit_code() == 2 && e.to_string().contains(named), "{e}");
        }
    }

    #[test]
    fn a_file_that_is_no_report_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.json");
        let whole = serde_json::to_string(&report(&[])).unwrap();
        for (text, found) in [
            ("{\"format\": 1,", "no JSON"),
            ("{}", "without a format"),
            ("{\"format\": 7}", "format 7"),
            ("{\"format\": 1}", "missing field"),
            (&whole[..whole.len() / 2], "no JSON"),
        ] {
            fs::write(&path, text).unwrap();
            let e = Report::load(&path).unwrap_err();
            assert!(e.exit_code() == 2 && e.to_string().contains(found), "{e}");
        }
    }

    #[test]
    fn times_have_four_digits() {
        assert_eq!([1.23456, 0.01234, 1e-6, 123e-6].map(ms), ["1235", "12.34", "0.0010", "0.1230"]);
    }
}
