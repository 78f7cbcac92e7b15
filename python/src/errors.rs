//! wgrec's errors as Python's.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::{PyErr, create_exception};
use wgrec::Error;

create_exception!(wgrec, InputError, PyValueError, "Wrong input or usage: what was found and what was expected.");
create_exception!(wgrec, RunError, PyRuntimeError, "A run that failed: a full disk, a lost device.");
create_exception!(
    wgrec,
    NotFiniteError,
    RunError,
    "A loss, a parameter or a score that is not finite: a training diverged."
);

/// The exception for an error: what the program ends with exit code 2 for is an `InputError`.
pub fn raised(e: Error) -> PyErr {
    let message = e.to_string();
    match e {
        Error::NotFinite(_) => NotFiniteError::new_err(message),
        e if e.exit_code() == 2 => InputError::new_err(message),
        _ => RunError::new_err(message),
    }
}
