//! One checkpoint by many protocols: what a figure owes to how targets are ranked.

use super::session::Session;
use crate::data::Ask;
use crate::device::Store;
use crate::error::{Error, Result};
use crate::eval::{Full, Metric, Protocol, TieRule};

/// What was asked for, ranked in one way.
#[derive(Clone, Debug)]
pub struct Way {
    pub protocol: Protocol,
    /// Whether the history is left out of a full ranking; None of candidates that lie outside it anyway.
    pub masked: Option<bool>,
    pub ties: TieRule,
    /// From 1, by the tie rule.
    pub ranks: Vec<f64>,
}

impl Way {
    /// The protocols of a matrix, unless others are asked for.
    pub const PROTOCOLS: [Protocol; 3] = [Protocol::Full, Protocol::Sampled(100), Protocol::Batch(1024)];

    /// `masked`, `unmasked`, or nothing.
    pub fn history(&self) -> &'static str {
        match self.masked {
            Some(true) => "masked",
            Some(false) => "unmasked",
            None => "",
        }
    }

    pub fn mean(&self, metric: Metric) -> f64 {
        metric.mean(&self.ranks)
    }
}

/// Ranks by each of `protocols`, in all ways of each. `open` gives the session of the run for a protocol, with its parameters; a
/// full ranking has to be one that is not masked. Protocols by which nothing can be ranked are given back with the reason.
///
/// # Errors
/// Those of `open`, and of a ranking, except that nothing can be ranked.
pub fn matrix<'a>(
    protocols: &[Protocol],
    ask: impl Into<Ask<'a>> + Copy,
    open: impl Fn(Protocol) -> Result<(Session, Store)>,
) -> Result<(Vec<Way>, Vec<(Protocol, String)>)> {
    let (mut ways, mut refused) = (vec![], vec![]);
    for &protocol in protocols {
        let (session, store) = open(protocol)?;
        let mut evaluator = match session.evaluator(&store, ask) {
            Err(Error::Usage(why)) => {
                refused.push((protocol, why));
                continue;
            }
            evaluator => evaluator?,
        };
        let ranked = evaluator.run()?;
        let counts = match ranked.full {
            Some(Full { masked, unmasked }) => vec![(Some(true), masked), (Some(false), unmasked)],
            None => vec![(None, ranked.counts)],
        };
        for (masked, counts) in counts.into_iter().filter(|(_, counts)| !counts.is_empty()) {
            let of = |ties: TieRule| Way { protocol, masked, ties, ranks: ties.ranks(&counts) };
            ways.extend(TieRule::ALL.map(of));
        }
    }
    Ok((ways, refused))
}
