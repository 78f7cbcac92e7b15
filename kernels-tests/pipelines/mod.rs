//! `kernels --pipelines`: compiles pipelines on the GPU device and shows what its driver says of each: registers, spills,
//! memory. Nothing runs, so that the stub of a GPU will do: tools/gpulab has stubs, and a Vulkan layer that appends the driver's
//! statistics to the file $GPULAB_STATISTICS.

pub mod launches;
mod table;
pub mod translations;

use clap::Parser;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use table::{Allowed, Row, Table};
use wgrec::device::gpu::bind;
use wgrec::device::gpu::shader::Shader;
use wgrec::device::gpu::{Gpu, GpuOptions};
use wgrec::graph::plan::Planned;
use wgrec::kernels::Launch;
use wgrec::kernels::launch::Source;
use wgrec::{Error, Result};

pub use table::trials;

/// All pipelines of a device, with what its driver says of them, the worst first.
#[derive(Parser)]
#[command(name = "lab DEVICE")]
struct Arguments {
    /// Only pipelines whose name has this in it, such as `attention` or `HEAD_DIM=128`.
    filter: Option<String>,
    /// Only those of `wgrec devices`, not those of the tests' cases, the benches and the models.
    #[arg(long)]
    self_check: bool,
    /// Rows to print; 0: all.
    #[arg(long, default_value_t = 20)]
    top: usize,
    /// Keep the table in this file.
    #[arg(long, value_name = "FILE")]
    tsv: Option<PathBuf>,
    /// Print what changed against a table that was kept.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Pipelines that may spill or take private memory.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/gpulab/allow"))]
    allow: PathBuf,
}

/// Status 1: a pipeline is in trouble; 2: it could not be found out.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments = Arguments::parse_from(["lab DEVICE".to_string()].into_iter().chain(arguments));
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

/// Whether no pipeline is in trouble.
fn run(arguments: &Arguments) -> Result<bool> {
    let variable =
        |name| std::env::var(name).map_err(|_| Error::Usage(format!("${name} is not set: use tools/gpulab/lab")));
    let (device, statistics) = (variable("GPULAB_DEVICE")?, PathBuf::from(variable("GPULAB_STATISTICS")?));
    let allowed = Allowed::read(&arguments.allow)?;
    let before = arguments.before.as_deref().map(Table::read).transpose()?;
    // A stub computes nothing.
    let gpu = Gpu::open_with(None, GpuOptions { probe: false, ..GpuOptions::default() })?;
    let mut table = Table::default();
    for (name, shader) in shaders(&gpu, arguments)? {
        table.rows.push(compile(&gpu, name, &shader, &statistics)?);
    }
    table.sort();
    if let Some(path) = &arguments.tsv {
        table.write(path)?;
    }
    table.print(arguments.top);
    if let Some(before) = before {
        table.print_changes(&before);
    }
    Ok(table.judge(&device, &allowed))
}

/// The distinct shaders, by the names of their pipelines.
fn shaders(gpu: &Gpu, arguments: &Arguments) -> Result<BTreeMap<String, Shader>> {
    let mut launches = launches::of_self_check(gpu)?;
    if !arguments.self_check {
        launches.extend(launches::all(gpu.caps())?);
    }
    let mut shaders = BTreeMap::new();
    for (node, launch) in &launches {
        let shader = Shader::of(node, launch, false);
        let name = name(node, launch, &shader);
        if arguments.filter.as_ref().is_none_or(|filter| name.contains(filter)) {
            shaders.entry(name).or_insert(shader);
        }
    }
    match shaders.is_empty() {
        true => Err(Error::Usage("no pipeline has such a name".into())),
        false => Ok(shaders),
    }
}

/// `attention.forward HEAD_DIM=64 WG=64 f16=q,k,v`: all that its text depends on.
fn name(node: &Planned, launch: &Launch, shader: &Shader) -> String {
    let mut words = vec![match launch.source() {
        Source::File(stem) => format!("{stem}.{}", launch.entry()),
        Source::Generated(text) => format!("elementwise.{}", hash(text)),
    }];
    words.extend(launch.constants().iter().map(|(name, value)| format!("{name}={value}")));
    let halves = bind::halves(node, launch, shader.text());
    if !halves.is_empty() {
        words.push(format!("f16={}", halves.join(",")));
    }
    words.join(" ")
}

fn hash(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// What the driver says of a pipeline, by way of the layer's file.
fn compile(gpu: &Gpu, name: String, shader: &Shader, statistics: &Path) -> Result<Row> {
    // Read by `lab` where the driver crashes.
    std::fs::write(statistics, format!("compiling {name}\n")).map_err(Error::io(statistics, "write"))?;
    if let Err(e) = gpu.prepare(std::slice::from_ref(shader)) {
        eprintln!("{e}");
        return Ok(Row::failed(name));
    }
    let text = std::fs::read_to_string(statistics).map_err(Error::io(statistics, "read"))?;
    Row::new(name, text.lines().skip(1), shader.reflect()?.workgroup_bytes)
}
