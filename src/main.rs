//! The program. Everything it does is in the library; `cli` has one file a subcommand.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
