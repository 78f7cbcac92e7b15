//! Prefixes: all events before a target.

use super::{Samples, Sizes, Target};
use crate::tensor::philox::Stream;
use std::ops::Range;

/// A prefix of a user's training part, and the item after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix;

impl Samples for Prefix {
    fn targets(&self, _max_len: usize) -> usize {
        1
    }

    fn per_position(&self) -> bool {
        false
    }

    fn count(&self, len: usize, _max_len: usize) -> usize {
        len.saturating_sub(1)
    }

    fn end(&self, _len: usize, number: usize, _max_len: usize) -> usize {
        number + 2
    }

    fn span(&self, end: usize, _max_len: usize) -> Range<usize> {
        end - 1..end
    }

    fn choose(&self, end: usize, _: &Sizes, _: &dyn Fn(usize) -> bool, _: &mut Stream, out: &mut Vec<Target>) {
        out.push(Target { slot: 0, position: end - 1 });
    }
}
