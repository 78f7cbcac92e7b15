//! `wgrec bench`

use super::{Settings, print};
use std::path::{Path, PathBuf};
use wgrec::bench::case::{Bench, fits, runs_on};
use wgrec::bench::{Report, Scale, kernels, whole};
use wgrec::config::Config;
use wgrec::device::Device;
use wgrec::kernels::example::Example;
use wgrec::train::Session;
use wgrec::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check each kernel against f64, time it, and say how much that is of what the device can do
    Kernels(Kernels),
    /// Time whole training steps, batch making counted
    Step(Model),
    /// Time full rankings by untrained parameters, which take as long as trained ones
    Eval(Model),
    /// Time the way from a file to the first batch, with and without the cache
    Data(Data),
}

#[derive(clap::Args)]
struct Kernels {
    /// Kernel to measure [default: all]
    name: Option<String>,
    /// auto, cpu, gpu or gpu:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// A product of 4096 x 4096 x 4096 and a softmax loss over 1,000,000 items among them, for large GPUs
    #[arg(long, conflicts_with = "quick")]
    large: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct Model {
    /// One of `wgrec models`
    model: String,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct Data {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct Output {
    /// Small sizes and few runs, for software drivers and CI: seconds for all of it
    #[arg(long)]
    quick: bool,
    /// Write all of it to a JSON file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Say what changed since the measurements in such a file, of the same device, adapter and number of threads
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

impl Output {
    fn scale(&self) -> Scale {
        if self.quick { Scale::Quick } else { Scale::Full }
    }

    /// The settings, with a place for the new measurements that they are not read from. That is found out before anything is
    /// timed.
    fn settings(&self, model: &str, settings: &Settings) -> Result<Config> {
        let config = settings.resolved(model)?;
        if let Some(path) = &self.json {
            settings.check_output(path, &config)?;
        }
        Ok(config)
    }

    /// The earlier measurements, which must be fit to be compared with these. That, and a place for the new ones, which may be
    /// that of the earlier, is found out before anything is timed.
    fn earlier(&self, now: &Report) -> Result<Option<Report>> {
        if let Some(path) = &self.json {
            super::check_output(path, [])?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if path.is_dir() || !folder.is_dir() {
                let (path, folder) = (path.display(), folder.display());
                return Err(Error::Usage(format!(
                    "--json {path}: cannot write it: {folder} is no folder, or it is one itself"
                )));
            }
        }
        let Some(path) = &self.against else { return Ok(None) };
        let earlier = Report::load(path)?;
        let named = |e: Error| Error::Usage(format!("{}: {e}", path.display()));
        now.check_comparable(&earlier).map_err(named)?;
        Ok(Some(earlier))
    }

    /// Saves the report and says what changed.
    fn finish(&self, report: &Report, earlier: Option<&Report>) -> Result<()> {
        if let Some(path) = &self.json {
            report.save(path)?;
        }
        earlier.map_or(Ok(()), |earlier| print(&report.against(earlier)))
    }
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Kernels(args) => measure_kernels(args),
        Command::Step(args) => {
            let session = Session::open_trained(args.output.settings(&args.model, &args.settings)?)?;
            measure_whole(&args.output, whole::empty("step", &session), |scale| whole::step(&session, scale))
        }
        Command::Eval(args) => {
            let session = Session::open(args.output.settings(&args.model, &args.settings)?)?;
            measure_whole(&args.output, whole::empty("eval", &session), |scale| whole::eval(&session, scale))
        }
        Command::Data(args) => {
            let config = args.output.settings(args.settings.layers.base()?.model.name(), &args.settings)?;
            let (device, _) = Device::open("cpu")?;
            let measure = |scale| whole::data(&config.data, config.train.batch, &device, scale);
            measure_whole(&args.output, Report::new("data", &device), measure)
        }
    }
}

fn measure_kernels(args: Kernels) -> Result<()> {
    let scale = if args.large { Scale::Large } else { args.output.scale() };
    let (device, _) = Device::open(&args.device)?;
    let [mut cases, mut small] = [scale, Scale::Quick].map(|scale| kernels::cases(args.name.as_deref(), scale));
    for cases in [&mut cases, &mut small].into_iter().flatten() {
        cases.retain(|case| runs_on(case, &device));
    }
    let (cases, small) = (cases?, small?);
    let earlier = args.output.earlier(&Report::new("kernels", &device))?;
    if let Some(earlier) = &earlier {
        earlier.check_shared(cases.iter().map(|c: &Example| (c.name.as_str(), c.sizes.as_str())))?;
    }
    cases.iter().try_for_each(|case| fits(case, &device))?;
    let mut bench = Bench::new(&device, scale)?;
    let mut report = bench.report("kernels");
    print(&report.head())?;
    for (case, small) in cases.iter().zip(&small) {
        let row = bench.run(case, small)?;
        print(&Report::line(&row))?;
        report.rows.push(row);
    }
    args.output.finish(&report, earlier.as_ref())
}

fn measure_whole(output: &Output, now: Report, measure: impl FnOnce(Scale) -> Result<Report>) -> Result<()> {
    let earlier = output.earlier(&now)?;
    let report = measure(output.scale())?;
    print(&report.table())?;
    if let Some(earlier) = &earlier {
        earlier.check_shared(report.rows.iter().map(|row| (row.name.as_str(), row.sizes.as_str())))?;
    }
    output.finish(&report, earlier.as_ref())
}
