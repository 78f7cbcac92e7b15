//! Numbers in sentences.

use indicatif::HumanCount;

/// `1 user`, `12,345 users`.
pub fn counted(n: usize, of: &str) -> String {
    format!("{} {of}{}", HumanCount(n as u64), if n == 1 { "" } else { "s" })
}
/// A share in per cent, without digits that are rounding.
pub fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}
