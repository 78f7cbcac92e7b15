//! The threads that all parallel work shares.

use crate::error::{Error, Result};
use std::error::Error as _;
use std::fmt::Display;
use std::sync::OnceLock;

/// Starts the threads of rayon's global pool, once. Whoever computes in parallel calls it first: rayon itself panics where the
/// system has no thread for it.
///
/// # Errors
/// A thread that the system does not grant.
pub fn start() -> Result<()> {
    if cfg!(target_family = "wasm") {
        // There are none: rayon takes the caller's.
        return Ok(());
    }
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    let build = || {
        let built = rayon::ThreadPoolBuilder::new().build_global();
        // An error without a source says that somebody else has built the pool.
        built.err().and_then(|e| e.source().map(|source| source.to_string()))
    };
    match REFUSED.get_or_init(build) {
        None => Ok(()),
        Some(why) => Err(refused(why)),
    }
}

/// The error of a thread that the system does not grant.
pub fn refused(why: impl Display) -> Error {
    Error::Failed(format!(
        "no threads can be started ({why}): free memory, raise the limit of processes (ulimit -u), or start fewer threads \
         by RAYON_NUM_THREADS"
    ))
}
