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

/// What was asked for, ranked in all ways.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    pub ways: Vec<Way>,
    /// Protocols by which nothing can be ranked, and why.
    pub refused: Vec<(Protocol, String)>,
}

impl Matrix {
    /// Ranks by each of `protocols`, in all ways of each. `open` gives the session of the run for a protocol, with its parameters; a
    /// full ranking has to be one that is not masked.
    ///
    /// # Errors
    /// Those of `open`, and of a ranking, except that nothing can be ranked by one of several protocols.
    pub fn new<'a>(
        protocols: &[Protocol],
        ask: impl Into<Ask<'a>> + Copy,
        open: impl Fn(Protocol) -> Result<(Session, Store)>,
    ) -> Result<Matrix> {
        let mut all = Matrix::default();
        for &protocol in protocols {
            let opened = open(protocol).and_then(|(session, store)| {
                // Classes are ranked among all, whatever is asked for.
                if session.split.has_classes() && protocol != Protocol::Full {
                    return Err(Error::Usage("classes are ranked among all of them".to_string()));
                }
                session.evaluator(&store, ask)
            });
            let mut evaluator = match opened {
                Err(Error::Usage(why)) if protocols.len() > 1 => {
                    all.refused.push((protocol, why));
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
                all.ways.extend(TieRule::ALL.map(of));
            }
        }
        Ok(all)
    }
}
