//! Windows with a target at each position.

use super::{Samples, Sizes, Target};
use crate::tensor::philox::Stream;
use std::ops::Range;

/// A window, and at each of its positions the item after it. Windows of a user lie side by side, from the end on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window;

impl Samples for Window {
    fn targets(&self, max_len: usize) -> usize {
        max_len
    }

    fn count(&self, len: usize, max_len: usize) -> usize {
        len.saturating_sub(1).div_ceil(max_len)
    }

    fn end(&self, len: usize, number: usize, max_len: usize) -> usize {
        len - number * max_len
    }

    fn span(&self, end: usize, max_len: usize) -> Range<usize> {
        end.saturating_sub(max_len).max(1)..end
    }

    fn choose(
        &self,
        end: usize,
        sizes: &Sizes,
        learned: &dyn Fn(usize) -> bool,
        _: &mut Stream,
        out: &mut Vec<Target>,
    ) {
        let span = self.span(end, sizes.max_len);
        let slots = sizes.padding.place(span.len(), sizes.max_len);
        let all = slots.zip(span).map(|(slot, position)| Target { slot, position });
        out.extend(all.filter(|target| learned(target.position)));
    }
}
