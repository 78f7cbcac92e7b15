//! The program. Everything it does is in the library; `cli` has one file a subcommand.

mod cli;

fn main() -> std::process::ExitCode {
    without_a_desktop();
    cli::main()
}

/// Keeps libwayland quiet where there is no desktop, as in containers. Mesa's layer that sorts Vulkan devices asks it for one
/// whenever a Vulkan instance could make windows, which all of wgpu's can, and it prints an error each time that
/// XDG_RUNTIME_DIR is not set. One that leads to no socket is no error.
fn without_a_desktop() {
    const VARIABLE: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(VARIABLE).is_none() {
        // SAFETY: no other thread has been started.
        unsafe { std::env::set_var(VARIABLE, "/dev/null") };
    }
}
