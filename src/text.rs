//! Numbers in sentences.

use indicatif::HumanCount;

/// `1 user`, `12,345 users`.
pub fn counted(n: usize, of: &str) -> String {
    format!("{} {of}{}", HumanCount(n as u64), if n == 1 { "" } else { "s" })
}
