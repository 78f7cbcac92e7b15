//! `wgrec completions` and `wgrec man`: made from the declarations of the flags.

use clap_complete::Shell;
use std::fs;
use std::path::PathBuf;
use wgrec::{Error, Result};

/// Print the completions of a shell
#[derive(clap::Args)]
pub struct Completions {
    shell: Shell,
}

/// Write a man page for each command
#[derive(clap::Args)]
pub struct Man {
    /// Folder of the pages, such as ~/.local/share/man/man1
    dir: PathBuf,
}

pub fn completions(args: Completions, mut command: clap::Command) -> Result<()> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut command, "wgrec", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}

pub fn man(args: Man, command: clap::Command) -> Result<()> {
    fs::create_dir_all(&args.dir).map_err(Error::io(&args.dir, "create"))?;
    clap_mangen::generate_to(command, &args.dir).map_err(Error::io(&args.dir, "write"))
}
