//! Operands of different shapes read as if they had one.

use crate::tensor::Shape;

/// Axes of an output at most.
pub(super) const RANK: usize = 8;

/// Shapes of a broadcast, with axes that run together in all operands joined: extents of the output, and the element
/// strides of each input (0 where it is repeated).
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    pub extents: Vec<usize>,
    pub strides: Vec<Vec<usize>>,
    /// Inputs that lie like the output, element by element.
    pub plain: Vec<bool>,
}

impl Broadcast {
    pub fn new(output: &Shape, inputs: &[&Shape]) -> Broadcast {
        let stride = |s: &Shape, axis: usize| {
            let own = (axis + s.len()).checked_sub(output.len());
            own.map_or(0, |i| if s[i] == 1 { 0 } else { s.strides()[i] })
        };
        let mut extents: Vec<usize> = vec![];
        let mut strides: Vec<Vec<usize>> = vec![vec![]; inputs.len()];
        for axis in (0..output.len()).filter(|&a| output[a] != 1) {
            let here: Vec<usize> = inputs.iter().map(|s| stride(s, axis)).collect();
            let joins =
                !extents.is_empty() && (0..inputs.len()).all(|i| *strides[i].last().unwrap() == here[i] * output[axis]);
            if joins {
                *extents.last_mut().unwrap() *= output[axis];
                strides.iter_mut().zip(here).for_each(|(s, h)| *s.last_mut().unwrap() = h);
            } else {
                extents.push(output[axis]);
                strides.iter_mut().zip(here).for_each(|(s, h)| s.push(h));
            }
        }
        if extents.is_empty() {
            extents.push(1);
            strides.iter_mut().for_each(|s| s.push(0));
        }
        let like_output = |strides: &Vec<usize>| {
            let mut dense = 1;
            (0..extents.len()).rev().all(|axis| {
                let same = strides[axis] == dense;
                dense *= extents[axis];
                same
            })
        };
        let plain = strides.iter().map(like_output).collect();
        Broadcast { extents, strides, plain }
    }

    /// WGSL that splits `i`, the number of an output element, into coordinates `c0`, `c1`, .. where an input needs them.
    pub(super) fn wgsl_coordinates(&self) -> String {
        let needed = (0..self.strides.len()).any(|i| !self.plain[i] && self.strides[i].iter().any(|&s| s != 0));
        if !needed {
            return String::new();
        }
        let mut text = String::new();
        let mut dense = 1;
        for (axis, extent) in self.extents.iter().enumerate().rev() {
            let above = if dense == 1 { "i".to_string() } else { format!("i / {dense}u") };
            text += &match axis {
                0 => format!("    let c0 = {above};\n"),
                _ => format!("    let c{axis} = {above} % {extent}u;\n"),
            };
            dense *= extent;
        }
        text
    }

    /// WGSL for the index in input `i` of output element `i`.
    pub(super) fn wgsl_index(&self, i: usize) -> String {
        if self.plain[i] {
            return "i".into();
        }
        let terms = self.strides[i].iter().enumerate().filter(|(_, s)| **s != 0).map(|(axis, stride)| match stride {
            1 => format!("c{axis}"),
            _ => format!("c{axis} * {stride}u"),
        });
        let sum = terms.collect::<Vec<_>>().join(" + ");
        if sum.is_empty() { "0u".into() } else { sum }
    }

    /// The same over vectors of four elements along the last axis, for a shader that reads them so: an input is a vector there or,
    /// where it is repeated along that axis, one element for all four. None: rows are no multiple of four, or lie otherwise.
    pub(super) fn by_four(&self) -> Option<Broadcast> {
        let fits = |strides: &Vec<usize>| {
            let (last, others) = strides.split_last().expect("at least one axis");
            *last == 0 || *last == 1 && others.iter().all(|s| s.is_multiple_of(4))
        };
        if !self.inner().is_multiple_of(4) || !self.strides.iter().all(fits) {
            return None;
        }
        let mut quads = self.clone();
        *quads.extents.last_mut().expect("at least one axis") /= 4;
        for strides in quads.strides.iter_mut().filter(|s| s.last() == Some(&1)) {
            let others = strides.len() - 1;
            strides[..others].iter_mut().for_each(|s| *s /= 4);
        }
        Some(quads)
    }

    /// Extent of the last axis: elements of an inner row.
    pub(super) fn inner(&self) -> usize {
        *self.extents.last().expect("at least one axis")
    }

    /// Coordinates of inner row `row`.
    #[inline(always)]
    pub(super) fn row(&self, mut row: usize) -> [usize; RANK] {
        let mut c = [0; RANK];
        for axis in (1..self.extents.len().max(1) - 1).rev() {
            (c[axis], row) = (row % self.extents[axis], row / self.extents[axis]);
        }
        c[0] = row;
        c
    }

    /// Coordinates of the row after that of `c`.
    #[inline(always)]
    pub(super) fn advance(&self, c: &mut [usize; RANK]) {
        for axis in (0..self.extents.len() - 1).rev() {
            c[axis] += 1;
            if c[axis] < self.extents[axis] {
                return;
            }
            c[axis] = 0;
        }
    }

    /// Offset of the row at `c` in input `i`.
    #[inline(always)]
    pub(super) fn offset(&self, i: usize, c: &[usize; RANK]) -> usize {
        let outer = self.extents.len() - 1;
        self.strides[i][..outer].iter().zip(c).map(|(stride, c)| stride * c).sum()
    }
}
