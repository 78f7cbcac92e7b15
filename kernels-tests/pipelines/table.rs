//! What drivers say of pipelines, in columns that mean the same for all of them.

use libtest_mimic::{Failed, Trial};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;
use wgrec::{Error, Result};

/// Each column's title and its names in the statistics of RADV, NAK, ANV, AGX and ir3.
const COLUMNS: [(&str, &[&str]); 8] = [
    ("spills", &["Spilled VGPRs", "Spills to memory", "Spills", "STP Count"]),
    ("private", &["Scratch size", "SLM size", "Scratch Memory Size", "Scratch"]),
    ("moved", &["Spilled SGPRs", "Spills to reg"]),
    ("registers", &["VGPRs", "Number of GPRs", "Max live registers", "GPRs", "Registers used"]),
    ("shared", &["LDS size", "Workgroup Memory Size"]),
    (OCCUPANCY, &["Subgroups per SIMD", "Max warps/SM", "Max dispatch width", "Threads", "Max Waves Per Core"]),
    ("instructions", &["Instructions", "Instruction count"]),
    ("cycles", &["Latency", "Static cycle count", "Cycles"]),
];
const SPILLS: usize = 0;
const PRIVATE: usize = 1;
const SHARED: usize = 4;
const OCCUPANCY: &str = "occupancy";

/// A pipeline. None: the driver does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    /// The driver refused it.
    pub failed: bool,
    pub values: [Option<u64>; COLUMNS.len()],
}

impl Row {
    pub fn failed(name: String) -> Row {
        Row { name, failed: true, values: [None; COLUMNS.len()] }
    }

    /// `variants`: the layer's lines. The worst of several variants of a pipeline counts.
    pub fn new<'a>(name: String, variants: impl Iterator<Item = &'a str>, workgroup_bytes: u32) -> Result<Row> {
        let mut row = Row { name, failed: false, values: [None; COLUMNS.len()] };
        for (statistic, value) in variants.flat_map(|line| line.split('\t')).filter_map(|s| s.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            for (own, (title, names)) in row.values.iter_mut().zip(COLUMNS) {
                if names.contains(&statistic) {
                    let worse = if title == OCCUPANCY { u64::min } else { u64::max };
                    *own = Some(own.map_or(value, |own| worse(own, value)));
                }
            }
        }
        if row.values[SPILLS].is_none() && row.values[PRIVATE].is_none() {
            return Err(Error::Failed(format!("the driver says nothing of {}: is the layer in use?", row.name)));
        }
        row.values[SHARED] = row.values[SHARED].or(Some(workgroup_bytes.into()));
        Ok(row)
    }

    fn has(&self, column: usize) -> bool {
        self.values[column].is_some_and(|n| n > 0)
    }

    fn is_in_trouble(&self) -> bool {
        self.failed || self.has(SPILLS) || self.has(PRIVATE)
    }

    fn status(&self) -> &'static str {
        if self.failed { "FAILED" } else { "ok" }
    }
}

#[derive(Default)]
pub struct Table {
    pub rows: Vec<Row>,
}

impl Table {
    /// The worst first.
    pub fn sort(&mut self) {
        self.rows.sort_by_key(|row| {
            let [spills, private, moved, registers, _, occupancy, ..] = row.values;
            Reverse((row.failed, spills, private, Reverse(occupancy), moved, registers))
        });
    }

    /// # Errors
    /// Errors of reading; a line that is no row, by its number.
    pub fn read(path: &Path) -> Result<Table> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
        let row = |(i, line): (usize, &str)| {
            let wrong =
                || Error::Usage(format!("{}:{}: found {line:?}; expected a row of --tsv", path.display(), i + 1));
            let fields: Vec<&str> = line.split('\t').collect();
            let &[name, status, ref values @ ..] = &fields[..] else { return Err(wrong()) };
            let values: Vec<Option<u64>> = values.iter().map(|n| n.parse().ok()).collect();
            let values = values.try_into().map_err(|_| wrong())?;
            Ok(Row { name: name.into(), failed: status != "ok", values })
        };
        Ok(Table { rows: text.lines().enumerate().skip(1).map(row).collect::<Result<_>>()? })
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = format!("name\tstatus\t{}\n", COLUMNS.map(|(title, _)| title).join("\t"));
        for row in &self.rows {
            text += &format!("{}\t{}\t{}\n", row.name, row.status(), row.values.map(shown).join("\t"));
        }
        std::fs::write(path, text).map_err(Error::io(path, "write"))
    }

    /// The first `top` rows, or all.
    pub fn print(&self, top: usize) {
        let shown_rows = if top == 0 { self.rows.len() } else { top.min(self.rows.len()) };
        let line = |status: &str, values: [String; COLUMNS.len()], name: &str| {
            println!("{status:<6} {} {name}", values.map(|v| format!("{v:>13}")).concat());
        };
        line("status", COLUMNS.map(|(title, _)| title.to_string()), "pipeline");
        self.rows[..shown_rows].iter().for_each(|row| line(row.status(), row.values.map(shown), &row.name));
        if shown_rows < self.rows.len() {
            println!("and {} more (--top 0 prints all, --tsv FILE keeps all)", self.rows.len() - shown_rows);
        }
    }

    /// Each pipeline of both tables with a value that differs.
    pub fn print_changes(&self, before: &Table) {
        let known: HashMap<&str, &Row> = before.rows.iter().map(|row| (row.name.as_str(), row)).collect();
        let both: Vec<(&Row, &Row)> =
            self.rows.iter().filter_map(|row| Some((*known.get(row.name.as_str())?, row))).collect();
        for (was, is) in both.iter().filter(|(was, is)| was != is) {
            let mut changes: Vec<String> = vec![];
            if was.failed != is.failed {
                changes.push(format!("{} -> {}", was.status(), is.status()));
            }
            let columns = COLUMNS.iter().zip(was.values.into_iter().zip(is.values));
            let changed = columns.filter(|(_, (was, is))| was != is);
            changes.extend(changed.map(|((title, _), (was, is))| format!("{title} {} -> {}", shown(was), shown(is))));
            println!("{}: {}", is.name, changes.join(", "));
        }
        let changed = both.iter().filter(|(was, is)| was != is).count();
        let [old, new] = [before, self].map(|table| table.rows.len() - both.len());
        println!("{changed} of {} pipelines changed; {old} only before, {new} only now", both.len());
    }

    /// The pipelines in trouble that `allowed` does not name.
    fn in_trouble(&self, device: &str, allowed: &Allowed) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.is_in_trouble() && !allowed.names(device, &row.name)).collect()
    }

    /// Prints a summary; false where a pipeline is in trouble that is not allowed.
    pub fn judge(&self, device: &str, allowed: &Allowed) -> bool {
        let count = |is: &dyn Fn(&Row) -> bool| self.rows.iter().filter(|row| is(row)).count();
        let bad = self.in_trouble(device, allowed);
        println!(
            "{device}: {} pipelines: {} failed, {} spill, {} take private memory; {} of these are allowed",
            self.rows.len(),
            count(&|row| row.failed),
            count(&|row| row.has(SPILLS)),
            count(&|row| row.has(PRIVATE)),
            count(&Row::is_in_trouble) - bad.len()
        );
        bad.iter().for_each(|row| println!("{device}: in trouble: {}", row.name));
        bad.is_empty()
    }
}

fn shown(value: Option<u64>) -> String {
    value.map_or("-".into(), |n| n.to_string())
}

/// Pipelines that may be in trouble: a line each of a device and words that their names have.
pub struct Allowed(Vec<Vec<String>>);

impl Allowed {
    pub fn read(path: &Path) -> Result<Allowed> {
        Ok(Allowed::parse(&std::fs::read_to_string(path).map_err(Error::io(path, "read"))?))
    }

    fn parse(text: &str) -> Allowed {
        let words =
            |line: &str| line.split('#').next().unwrap_or(line).split_whitespace().map(str::to_string).collect();
        Allowed(text.lines().map(words).filter(|words: &Vec<String>| !words.is_empty()).collect())
    }

    fn names(&self, device: &str, name: &str) -> bool {
        let has = |word: &String| name.split(' ').any(|own| own == word);
        self.0.iter().any(|words| words[0] == device && words[1..].iter().all(has))
    }
}

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("pipelines::the_worst_variant_counts", worst_variant),
        Trial::test("pipelines::spills_and_private_memory_are_trouble_unless_allowed", trouble),
        Trial::test("pipelines::a_kept_table_reads_back", read_back),
    ]
}

fn row(name: &str, variants: &[&str]) -> Result<Row> {
    Row::new(name.into(), variants.iter().copied(), 256)
}

fn worst_variant() -> std::result::Result<(), Failed> {
    let variants = ["Spills=0\tMax dispatch width=16\tCycles=9", "Spills=3\tMax dispatch width=8\tCycles=7"];
    let of = row("softmax.forward WG=64", &variants)?.values;
    assert_eq!(of, [Some(3), None, None, None, Some(256), Some(8), None, Some(9)]);
    assert!(row("softmax.forward WG=64", &[]).is_err(), "a driver that says nothing passes");
    Ok(())
}

fn trouble() -> std::result::Result<(), Failed> {
    let rows = [
        row("fft.forward", &["Spills=0\tScratch=0"])?,
        row("attention.forward HEAD_DIM=128 WG=64", &["Spills=3\tScratch=0"])?,
        row("attention.backward HEAD_DIM=128 WG=64", &["Spills=0\tScratch=16"])?,
        Row::failed("gru.forward".into()),
    ];
    let table = Table { rows: rows.to_vec() };
    let in_trouble = |allowed: &str| table.in_trouble("tgl", &Allowed::parse(allowed)).len();
    assert_eq!(in_trouble("# none\n"), 3);
    assert_eq!(in_trouble("tgl HEAD_DIM=128  # both\n"), 1);
    assert_eq!(in_trouble("tgl attention.forward HEAD_DIM=128\ntgl gru.forward\n"), 1);
    assert_eq!(in_trouble("tgl attention.forward HEAD_DIM=64\ntgl HEAD_DIM=12\nm1 HEAD_DIM=128\n"), 3);
    Ok(())
}

fn read_back() -> std::result::Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("table.tsv");
    let rows = vec![row("fft.forward SIZE=64", &["Spills=0\tScratch=16"])?, Row::failed("gru.forward".into())];
    let table = Table { rows };
    table.write(&path)?;
    assert_eq!(Table::read(&path)?.rows, table.rows);
    std::fs::write(&path, "name\nfft.forward\tok\t1\n")?;
    let message = Table::read(&path).err().ok_or("a row without columns is read")?.to_string();
    assert!(message.contains("table.tsv:2: found"), "{message}");
    Ok(())
}
