//! The command line: one file a subcommand, and what they share.

mod analyse;
mod bench;
mod compare;
mod data;
mod devices;
#[cfg(feature = "encode")]
mod encode;
mod eval;
mod export;
mod inspect;
mod models;
mod plan;
mod planted;
mod plot;
mod profile;
mod read;
mod recommend;
mod report;
#[cfg(feature = "serve")]
mod serve;
mod shell;
mod sweep;
mod train;
mod trained;
mod translation;
mod verify;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use read::Read;
use std::borrow::Cow;
use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wgrec::config::Config;
use wgrec::eval::Metric;
use wgrec::models::MODELS;
use wgrec::train::{RunFolder, Session, Stop};
use wgrec::{Error, Result};

/// Train sequential recommenders on any GPU, or on the CPU
#[derive(Parser)]
#[command(name = "wgrec", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Args),
    Sweep(sweep::Args),
    Eval(eval::Args),
    Compare(compare::Args),
    Verify(verify::Args),
    Report(report::Args),
    Recommend(recommend::Args),
    #[cfg(feature = "serve")]
    Serve(serve::Args),
    Inspect(inspect::Args),
    Export(export::Args),
    /// Turn texts or images of items into vectors, by models in Hugging Face's folders
    #[cfg(feature = "encode")]
    Encode(encode::Args),
    Plot(plot::Args),
    Plan(plan::Args),
    Planted(planted::Args),
    /// Look into what runs learned from
    Analyse(analyse::Args),
    Models(models::Args),
    /// List the CPU and all adapters, with their limits and features, and check every kernel on each
    Devices,
    /// Look at data, fetch data
    Data(data::DataArgs),
    /// Measure kernels, training steps, evaluations and readers on this machine
    Bench(bench::Args),
    Completions(shell::Completions),
    Man(shell::Man),
}

/// Checks that `path`, which is to be written, is not a file that is read, nor (except for reports) one next to the files of a
/// folder that is read, nor one that a run keeps in its folder.
fn check_output<'a>(path: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let refuse = |why: &str| Err(Error::Usage(format!("{}: {why}; name another file to write", path.display())));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let report = path.extension().is_some_and(|ending| ending == "json" || ending == "dot");
    for input in inputs {
        if same(input, path) {
            return refuse("it is read");
        }
        if !report && path.is_file() && same(input, folder) {
            return refuse("it lies among the files of the data");
        }
    }
    if !folder.is_dir() {
        return Err(Error::Usage(format!(
            "{}: there is no folder {}; expected one to write in",
            path.display(),
            folder.display()
        )));
    }
    let is_run = |folder: &Path| ["config.toml", "items.tsv"].iter().all(|kept| folder.join(kept).is_file());
    // The folder itself, or that of its checkpoints.
    let run = is_run(folder) || is_run(&folder.join(".."));
    match run && path.is_file() && RunFolder::keeps(path) {
        true => refuse("the run keeps it"),
        false => Ok(()),
    }
}

/// The metrics that are asked for, and those that the runs themselves are judged by: of classes, the accuracy.
fn with_own<'a>(asked: &[Metric], sessions: impl IntoIterator<Item = &'a Session>) -> Vec<Metric> {
    let mut all = asked.to_vec();
    for session in sessions {
        if !all.contains(&session.config.eval.metric) {
            all.push(session.config.eval.metric);
        }
    }
    all
}

/// Checks that outputs are not one and the same file.
fn check_apart(outputs: &[&Path]) -> Result<()> {
    let again = outputs
        .iter()
        .enumerate()
        .find(|(at, path)| outputs[..*at].iter().any(|other| other == *path || same(other, path)));
    match again {
        Some((_, path)) => {
            Err(Error::Usage(format!("{}: is to be written twice; expected another name", path.display())))
        }
        None => Ok(()),
    }
}

/// Whether two paths lead to one file or folder.
fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Runs the program: 0 if all went well, 2 for wrong input or usage, 1 for a run that failed, 130 for one that was stopped.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|e| match setting_flag(&e, given()) {
        None => e.exit(),
        Some(hint) => {
            eprintln!("error: {hint}");
            std::process::exit(2)
        }
    });
    let done = match cli.command {
        Command::Train(args) => train::run(args),
        Command::Sweep(args) => sweep::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Report(args) => report::run(args),
        Command::Recommend(args) => recommend::run(args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Export(args) => export::run(args),
        #[cfg(feature = "encode")]
        Command::Encode(args) => encode::run(args),
        Command::Plot(args) => plot::run(args),
        Command::Analyse(args) => analyse::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Planted(args) => planted::run(args),
        Command::Models(args) => models::run(args),
        Command::Devices => devices::run(),
        Command::Data(args) => data::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Completions(args) => shell::completions(args, Cli::command()),
        Command::Man(args) => shell::man(args, Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let what = if matches!(e, Error::Stopped(_)) { "" } else { "error: " };
            // The only other place to say it would be the one that just failed.
            let _ = writeln!(io::stderr(), "{what}{e}");
            ExitCode::from(e.exit_code() as u8)
        }
    }
}

/// Of an error about a flag that there is not, where a setting is what was meant: how to change it.
fn setting_flag(e: &clap::Error, args: Vec<String>) -> Option<String> {
    let command = Cli::command();
    let takes_settings = |name: &String| {
        let mut flags = command.find_subcommand(name).into_iter().flat_map(|command| command.get_arguments());
        flags.any(|flag| flag.get_long() == Some("set"))
    };
    let Some(ContextValue::String(flag)) = e.get(ContextKind::InvalidArg) else { return None };
    if e.kind() != ErrorKind::UnknownArgument || !args.get(1).is_some_and(takes_settings) {
        return None;
    }
    let key = Config::setting_named(flag.trim_start_matches('-'))?;
    let at = args.iter().position(|arg| arg.split('=').next() == Some(flag))?;
    let value = match (args[at].split_once('='), args.get(at + 1)) {
        (Some((_, value)), _) => value,
        (None, Some(next)) if !next.starts_with("--") => next,
        _ => "VALUE",
    };
    Some(format!("there is no flag {flag}: settings are changed by --set, as in --set {key}={value}"))
}

/// A request to stop that Ctrl-C and the signals to end make. Where nothing heeds it, and the second time, they end the
/// program at once; `command` is the one that resumes it.
fn stop_by_signals(command: impl Fn() -> String + Send + 'static) -> Result<Stop> {
    let stop = Stop::default();
    let request = stop.clone();
    let handler = move || {
        let again = request.requested();
        if !request.request() {
            if !again {
                let _ = writeln!(io::stderr(), "stopped; go on by: {}", command());
            }
            std::process::exit(130);
        }
        let _ = writeln!(io::stderr(), "stopping: what is done is being saved; once more ends it at once");
    };
    // The handler takes a thread too, and does not say so where it gets none.
    wgrec::threads::start()?;
    ctrlc::set_handler(handler).map_err(|e| match e {
        ctrlc::Error::System(e) if e.kind() == io::ErrorKind::WouldBlock => wgrec::threads::refused(e),
        ctrlc::Error::System(e) => Error::Failed(format!("cannot handle Ctrl-C: {e}")),
        e => Error::Failed(format!("cannot handle Ctrl-C: {e}")),
    })?;
    Ok(stop)
}

/// `done`, and where the training was stopped, the command that resumes it.
fn resumed_by<T>(command: impl FnOnce() -> String, done: Result<T>) -> Result<T> {
    done.map_err(|e| match e {
        Error::Stopped(what) => Error::Stopped(format!("{what}\nresume by: {}", command())),
        e => e,
    })
}

/// The arguments of the program, its name first. Bytes that are no UTF-8 are replaced: these are only for messages.
fn given() -> Vec<String> {
    env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect()
}

/// The command that was given, and `more`, as a shell takes it.
fn command_line(more: &[&str]) -> String {
    let all = given();
    let given = all.get(1..).unwrap_or_default();
    let more = more.iter().filter(|flag| given.iter().all(|arg| arg != *flag));
    let all = given.iter().map(String::as_str).chain(more.copied());
    ["wgrec".into()].into_iter().chain(all.map(quoted)).collect::<Vec<_>>().join(" ")
}

/// `text` as a shell takes it.
fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "-_=./,:+@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.into(),
        false => format!("'{}'", text.replace('\'', r"'\''")).into(),
    }
}

/// Prints the result of a command. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("standard output", "write")(e)),
        _ => Ok(()),
    }
}

/// As [`print`], a text with colours: they are left out where no terminal shows them, or NO_COLOR is set.
fn print_styled(text: &str) -> Result<()> {
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => print(&anstream::adapter::strip_str(text).to_string()),
        _ => print(text),
    }
}

/// Where settings come from, lowest first: defaults or --preset, --config, --set, and the flags that have a name of their own.
#[derive(clap::Args)]
struct Settings {
    /// Interactions: a file or folder, or the name of a known data set [default: the embedded world]
    #[arg(long, value_name = "PATH|NAME", value_parser = text_path)]
    data: Option<PathBuf>,
    #[command(flatten)]
    read: Read,
    #[command(flatten)]
    layers: Layers,
    /// auto, cpu, gpu or gpu:N
    #[arg(long)]
    device: Option<String>,
    /// Seed of everything random
    #[arg(long, value_name = "N", value_parser = seed)]
    seed: Option<u64>,
}

/// Settings by their keys.
#[derive(clap::Args)]
struct Layers {
    /// A set of settings over the defaults, as `wgrec models MODEL` lists them: `paper` is the published setting
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Settings as TOML or YAML; a configuration of RecBole's (YAML) is translated, with a table of what became of each word
    #[arg(long, value_name = "FILE.toml|yaml")]
    config: Option<PathBuf>,
    /// Change one setting, as in --set train.lr=5e-4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Layers {
    /// The defaults of the model that the file of settings is for, or of the first one: to read data by, which no model is needed
    /// for.
    fn base(&self) -> Result<Config> {
        let named = self.config.as_deref().map(Config::model_of_file).transpose()?.flatten();
        Config::of(named.as_deref().unwrap_or(MODELS[0].name))
    }

    /// Says what became of each word of a RecBole configuration.
    fn print_translation(&self, config: &Config) -> Result<()> {
        let lines = self.config.as_deref().map(|path| config.translation(path)).transpose()?.unwrap_or_default();
        if lines.is_empty() { Ok(()) } else { print(&translation::table(&lines, config.model.spec())) }
    }

    fn put_over(&self, mut base: Config) -> Result<Config> {
        if let Some(file) = &self.config {
            base = base.with_file(file)?;
        }
        self.set.iter().try_fold(base, |base, setting| base.with_setting(setting))
    }
}

/// A path that settings can hold, which are text.
fn text_path(path: &str) -> Result<PathBuf, String> {
    if path.is_empty() { Err("expected a path or a name".to_string()) } else { Ok(PathBuf::from(path)) }
}

/// Any whole number that TOML can hold, since config.toml keeps it.
fn seed(text: &str) -> Result<u64, String> {
    let fits = |&n: &u64| n <= i64::MAX as u64;
    text.parse()
        .ok()
        .filter(fits)
        .ok_or_else(|| format!("found {text}; expected a whole number from 0 to {}", i64::MAX))
}

impl Settings {
    /// Checks that `path` is none of the files that these settings, and those in `config` that came of them, are read from.
    fn check_output(&self, path: &Path, config: &Config) -> Result<()> {
        check_output(path, [&self.layers.config, &config.data.path].into_iter().flatten().map(PathBuf::as_path))
    }

    /// These settings over the defaults of a model, their ranges checked.
    fn resolved(&self, model: &str) -> Result<Config> {
        self.resolved_over(model, Ok)
    }

    /// As [`Settings::resolved`], the defaults changed by `lower`.
    fn resolved_over(&self, model: &str, lower: impl Fn(Config) -> Result<Config>) -> Result<Config> {
        let config = self.with_defaults(model, self.layers.preset.as_deref(), lower)?;
        config.check()?;
        self.layers.print_translation(&config)?;
        Ok(config)
    }

    /// These settings over those of `lower`, and these over the defaults of a model or one of its presets.
    fn with_defaults(
        &self,
        model: &str,
        preset: Option<&str>,
        lower: impl Fn(Config) -> Result<Config>,
    ) -> Result<Config> {
        Config::resolved(model, preset, lower, |base| self.put_over(base))
    }

    /// These settings, a preset among them, over those of a run, their ranges checked.
    fn over(&self, base: Config) -> Result<Config> {
        base.changed(self.layers.preset.as_deref(), |base| self.put_over(base))
    }

    fn put_over(&self, base: Config) -> Result<Config> {
        let mut base = self.layers.put_over(base)?;
        if self.data.is_some() {
            base.data.path = self.data.clone();
        }
        self.read.put_over(&mut base.data);
        if let Some(device) = &self.device {
            base.device = device.clone();
        }
        base.seed = self.seed.unwrap_or(base.seed);
        Ok(base)
    }
}
