//! The module `wgrec._wgrec`: what the package `wgrec` needs of the library. What people see is in `wgrec/*.py`.

mod arrow;
mod errors;
mod frame;
mod models;
mod run;
mod thread;
mod train;

#[pyo3::pymodule]
mod _wgrec {
    #[pymodule_export]
    use super::errors::{InputError, NotFiniteError, RunError};
    #[pymodule_export]
    use super::models::models;
    #[pymodule_export]
    use super::run::Run;
    #[pymodule_export]
    use super::train::train;

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
