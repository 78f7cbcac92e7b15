//! Windows with hidden positions (Sun et al., "BERT4Rec", CIKM 2019).

use super::{Samples, Sizes, Target};
use crate::tensor::philox::Stream;
use std::ops::Range;

/// A window with a share of its positions hidden, and the items that stood there; one window in ten hides its last position
/// alone, as a prediction does. At most [`Samples::targets`] positions are hidden, which is all that are drawn in 99.8% of
/// the windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cloze {
    pub share: f32,
}

impl Samples for Cloze {
    /// Three standard deviations over the mean.
    fn targets(&self, max_len: usize) -> usize {
        let (n, p) = (max_len as f64, self.share as f64);
        ((n * p + 3.0 * (n * p * (1.0 - p)).sqrt()).ceil() as usize).clamp(1, max_len)
    }

    fn hides(&self) -> bool {
        true
    }

    fn count(&self, len: usize, max_len: usize) -> usize {
        if len < 2 { 0 } else { len.div_ceil(max_len) }
    }

    fn end(&self, len: usize, number: usize, max_len: usize) -> usize {
        len - number * max_len
    }

    fn span(&self, end: usize, max_len: usize) -> Range<usize> {
        end.saturating_sub(max_len)..end
    }

    fn read(&self, end: usize, max_len: usize) -> Range<usize> {
        self.span(end, max_len)
    }

    fn choose(
        &self,
        end: usize,
        sizes: &Sizes,
        learned: &dyn Fn(usize) -> bool,
        stream: &mut Stream,
        out: &mut Vec<Target>,
    ) {
        let span = self.span(end, sizes.max_len);
        let last =
            span.clone().rev().find(|&position| learned(position)).expect("a window has a position with a target");
        let last_alone = stream.uniform() < 0.1;
        for position in span {
            let drawn = if last_alone { position == last } else { stream.uniform() < self.share as f64 };
            // At least one: the last, if none was drawn.
            if drawn && learned(position) && out.len() < sizes.targets || position == last && out.is_empty() {
                out.push(Target { slot: out.len(), position });
            }
        }
    }
}
