//! How the inputs of a case are drawn. Every float is one that f32 holds, so that all devices start from the same numbers.

use std::sync::Arc;
use wgrec::tensor::philox::Stream;
use wgrec::tensor::{Data, Shape, Spec, Tensor};

type Draw = dyn Fn(&mut Stream, &Shape) -> Data + Send + Sync;

#[derive(Clone)]
pub struct Recipe {
    pub spec: Spec,
    draw: Arc<Draw>,
}

impl Recipe {
    fn floats(shape: impl Into<Shape>, f: impl Fn(&mut Stream, usize) -> Vec<f64> + Send + Sync + 'static) -> Recipe {
        Recipe { spec: Spec::f32(shape), draw: Arc::new(move |s, shape| Data::F64(f(s, shape.elements()))) }
    }

    fn integers(shape: impl Into<Shape>, f: impl Fn(&mut Stream, usize) -> Vec<u32> + Send + Sync + 'static) -> Recipe {
        Recipe { spec: Spec::u32(shape), draw: Arc::new(move |s, shape| Data::U32(f(s, shape.elements()))) }
    }

    /// The elements of `tensor`.
    pub fn exactly(tensor: Tensor) -> Recipe {
        let spec = tensor.spec();
        let data = match tensor.data {
            Data::U32(v) => Data::U32(v),
            _ => Data::F64(tensor.to_f64()),
        };
        Recipe { spec, draw: Arc::new(move |_, _| data.clone()) }
    }

    pub fn make(&self, stream: &mut Stream) -> Tensor {
        let data = match (self.draw)(stream, &self.spec.shape) {
            Data::F64(v) => Data::F64(v.into_iter().map(|x| x as f32 as f64).collect()),
            other => other,
        };
        Tensor { shape: self.spec.shape.clone(), data }
    }

    /// `f` of the floats and the stream, after they were drawn.
    fn then(self, f: impl Fn(&mut Stream, &mut [f64]) + Send + Sync + 'static) -> Recipe {
        let draw = move |stream: &mut Stream, shape: &Shape| match (self.draw)(stream, shape) {
            Data::F64(mut v) => {
                f(stream, &mut v);
                Data::F64(v)
            }
            other => other,
        };
        Recipe { spec: self.spec, draw: Arc::new(draw) }
    }

    pub fn scale(self, factor: f64) -> Recipe {
        self.map(move |x| x * factor)
    }

    pub fn map(self, f: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Recipe {
        self.then(move |_, v| v.iter_mut().for_each(|x| *x = f(*x)))
    }

    /// Some `n` elements set to +-30: plain random inputs make the softmax of a wrong maximum look right.
    pub fn outliers(self, n: usize) -> Recipe {
        self.then(move |stream, v| {
            for _ in 0..n {
                let at = stream.below(v.len() as u32) as usize;
                v[at] = if stream.uniform() < 0.5 { 30.0 } else { -30.0 };
            }
        })
    }

    /// `value` at the elements `at`.
    pub fn plant(self, value: f64, at: impl Into<Vec<usize>>) -> Recipe {
        let at = at.into();
        self.then(move |_, v| at.iter().for_each(|&i| v[i] = value))
    }
}

/// Standard normal.
pub fn normal(shape: impl Into<Shape>) -> Recipe {
    Recipe::floats(shape, |s, n| (0..n).map(|_| s.normal()).collect())
}

pub fn uniform(shape: impl Into<Shape>, from: f64, to: f64) -> Recipe {
    Recipe::floats(shape, move |s, n| (0..n).map(|_| from + (to - from) * s.uniform()).collect())
}

/// Multiples of 1/16 around 0, but not 0, each once, shuffled: no ties, and no element near the kink of a function.
pub fn distinct(shape: impl Into<Shape>) -> Recipe {
    Recipe::floats(shape, |s, n| {
        let mut v: Vec<f64> = (0..n).map(|i| (i as f64 - (n / 2) as f64 + 0.5) / 16.0).collect();
        s.shuffle(&mut v);
        v
    })
}

pub fn fill(shape: impl Into<Shape>, value: f64) -> Recipe {
    Recipe::floats(shape, move |_, n| vec![value; n])
}

/// 1 with probability `p`, else 0.
pub fn keep(shape: impl Into<Shape>, p: f64) -> Recipe {
    Recipe::integers(shape, move |s, n| (0..n).map(|_| (s.uniform() < p) as u32).collect())
}

/// Indices below `n`, most of them small: a few rows are repeated many times.
pub fn indices(shape: impl Into<Shape>, below: usize) -> Recipe {
    Recipe::integers(shape, move |s, n| {
        let draw = |s: &mut Stream| ((s.uniform() * s.uniform() * s.uniform()) * below as f64) as u32;
        (0..n).map(|_| draw(s)).collect()
    })
}

/// These integers.
pub fn given(shape: impl Into<Shape>, values: impl Into<Vec<u32>>) -> Recipe {
    let values = values.into();
    Recipe::integers(shape, move |_, _| values.clone())
}

/// Integers by a function of the stream.
pub fn integers(shape: impl Into<Shape>, f: impl Fn(&mut Stream, usize) -> Vec<u32> + Send + Sync + 'static) -> Recipe {
    Recipe::integers(shape, f)
}
