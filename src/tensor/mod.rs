//! Host tensors, shapes, element types, and the random numbers that every device draws alike.

use std::fmt;

pub mod philox;
pub mod segments;

/// Extents of a tensor, outermost first. The empty shape is a scalar of one element.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// The last extent; 1 for a scalar.
    pub fn last_dim(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// All extents but the last, multiplied: the number of rows.
    pub fn rows(&self) -> usize {
        self.0.iter().rev().skip(1).product()
    }

    /// `(outer, extent, inner)` around `axis`, so that element (o, a, i) lies at `(o * extent + a) * inner + i`.
    pub fn around(&self, axis: usize) -> (usize, usize, usize) {
        (self.0[..axis].iter().product(), self.0[axis], self.0[axis + 1..].iter().product())
    }

    /// This shape with `extent` in place of the extent of `axis`.
    pub fn with(&self, axis: usize, extent: usize) -> Shape {
        let mut s = self.clone();
        s.0[axis] = extent;
        s
    }

    /// This shape without `axis`.
    pub fn without(&self, axis: usize) -> Shape {
        let mut s = self.clone();
        s.0.remove(axis);
        s
    }

    /// The common shape of two operands by the usual rule: aligned at the right, extents equal or 1.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.len().max(other.len());
        let at = |s: &Shape, i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
        (0..rank)
            .map(|i| match (at(self, i), at(other, i)) {
                (a, b) if a == b => Some(a),
                (a, 1) => Some(a),
                (1, b) => Some(b),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Shape)
    }

    /// Element strides of a contiguous tensor.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.len()];
        for i in (1..self.len()).rev() {
            strides[i - 1] = strides[i] * self.0[i];
        }
        strides
    }
}

impl std::ops::Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Shape {
        Shape(extents.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(extents: &[usize]) -> Shape {
        Shape(extents.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(extents: Vec<usize>) -> Shape {
        Shape(extents)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Element type. `F32` values are held as f64 while the CPU device runs in f64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DType {
    F32,
    F16,
    U32,
}

impl DType {
    /// Bytes of one element on a GPU.
    pub fn bytes(self) -> usize {
        match self {
            DType::F16 => 2,
            _ => 4,
        }
    }
}

/// Shape and element type of a value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    pub shape: Shape,
    pub dtype: DType,
}

impl Spec {
    pub fn f32(shape: impl Into<Shape>) -> Spec {
        Spec { shape: shape.into(), dtype: DType::F32 }
    }

    pub fn u32(shape: impl Into<Shape>) -> Spec {
        Spec { shape: shape.into(), dtype: DType::U32 }
    }

    /// Bytes on a GPU.
    pub fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.bytes()
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?} {}", self.dtype, self.shape)
    }
}

/// Elements of a host tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    U32(Vec<u32>),
}

/// A tensor in host memory: what is written to a device and what is read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Shape,
    pub data: Data,
}

impl Tensor {
    pub fn f32(shape: impl Into<Shape>, values: Vec<f32>) -> Tensor {
        Tensor::new(shape.into(), Data::F32(values))
    }

    pub fn f64(shape: impl Into<Shape>, values: Vec<f64>) -> Tensor {
        Tensor::new(shape.into(), Data::F64(values))
    }

    pub fn u32(shape: impl Into<Shape>, values: Vec<u32>) -> Tensor {
        Tensor::new(shape.into(), Data::U32(values))
    }

    pub fn zeros(shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        Tensor::f32(shape.clone(), vec![0.0; shape.elements()])
    }

    fn new(shape: Shape, data: Data) -> Tensor {
        let len = match &data {
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
            Data::U32(v) => v.len(),
        };
        assert_eq!(shape.elements(), len, "a tensor of shape {shape} cannot hold {len} elements");
        Tensor { shape, data }
    }

    /// `U32` for integers, `F32` for both float widths.
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::U32(_) => DType::U32,
            _ => DType::F32,
        }
    }

    pub fn spec(&self) -> Spec {
        Spec { shape: self.shape.clone(), dtype: self.dtype() }
    }

    /// The elements as f64, whatever they are.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| x as f64).collect(),
            Data::F64(v) => v.clone(),
            Data::U32(v) => v.iter().map(|&x| x as f64).collect(),
        }
    }

    /// The elements as f32, whatever they are.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            Data::F32(v) => v.clone(),
            Data::F64(v) => v.iter().map(|&x| x as f32).collect(),
            Data::U32(v) => v.iter().map(|&x| x as f32).collect(),
        }
    }

    /// The first element that is not finite, in words: `element [3, 5] of [41, 16] is NaN`.
    pub fn not_finite(&self) -> Option<String> {
        let (at, value) = match &self.data {
            Data::F32(v) => v.iter().position(|x| !x.is_finite()).map(|at| (at, v[at] as f64))?,
            Data::F64(v) => v.iter().position(|x| !x.is_finite()).map(|at| (at, v[at]))?,
            Data::U32(_) => return None,
        };
        let mut rest = at;
        let mut index: Vec<usize> = self.shape.iter().rev().map(|n| (rest % n, rest /= n).0).collect();
        index.reverse();
        Some(format!("element {index:?} of {} is {value}", self.shape))
    }

    /// The elements of an integer tensor. Panics on floats.
    pub fn as_u32(&self) -> &[u32] {
        match &self.data {
            Data::U32(v) => v,
            _ => panic!("not an integer tensor"),
        }
    }
}
