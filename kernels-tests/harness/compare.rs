//! Whether two tensors agree.

use wgrec::tensor::{Data, Shape, Tensor};

/// `|got - want| <= absolute + relative |want|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    pub absolute: f64,
    pub relative: f64,
}

/// An error that shows the element that is furthest outside the tolerance, or the first NaN. Integers must be equal.
pub fn close(what: &str, got: &Tensor, want: &Tensor, t: Tolerance) -> Result<(), String> {
    if let (Data::U32(_), Data::U32(_)) = (&got.data, &want.data) {
        return same(what, got, want);
    }
    if got.shape != want.shape {
        return Err(format!("{what}: got shape {}, want {}", got.shape, want.shape));
    }
    let (g, w) = (got.to_f64(), want.to_f64());
    if let Some(i) = (0..g.len()).find(|&i| g[i].is_nan() || w[i].is_nan()) {
        return Err(format!("{what}{}: NaN: got {}, want {}", place(&got.shape, i), g[i], w[i]));
    }
    let excess =
        |i: usize| if g[i] == w[i] { 0.0 } else { (g[i] - w[i]).abs() / (t.absolute + t.relative * w[i].abs()) };
    let Some(worst) = (0..g.len()).max_by(|&a, &b| excess(a).total_cmp(&excess(b))) else { return Ok(()) };
    if excess(worst) <= 1.0 {
        return Ok(());
    }
    let outside = (0..g.len()).filter(|&i| excess(i) > 1.0).count();
    Err(format!(
        "{what}{}: got {:e}, want {:e}: {:.1} times the tolerance ({:e} + {:e} |want|); {outside} of {} elements are \
         outside it",
        place(&got.shape, worst),
        g[worst],
        w[worst],
        excess(worst),
        t.absolute,
        t.relative,
        g.len()
    ))
}

/// An error that shows the first element whose bits differ.
pub fn same(what: &str, got: &Tensor, want: &Tensor) -> Result<(), String> {
    if got.shape != want.shape {
        return Err(format!("{what}: got shape {}, want {}", got.shape, want.shape));
    }
    let (g, w) = (bits(got), bits(want));
    match (0..g.len()).find(|&i| g[i] != w[i]) {
        None => Ok(()),
        Some(i) => Err(format!(
            "{what}{}: {:e} is not {:e} to the bit; {} of {} elements differ",
            place(&got.shape, i),
            got.to_f64()[i],
            want.to_f64()[i],
            (0..g.len()).filter(|&i| g[i] != w[i]).count(),
            g.len()
        )),
    }
}

fn bits(t: &Tensor) -> Vec<u64> {
    match &t.data {
        Data::F32(v) => v.iter().map(|x| x.to_bits() as u64).collect(),
        Data::F64(v) => v.iter().map(|x| x.to_bits()).collect(),
        Data::U32(v) => v.iter().map(|&x| x as u64).collect(),
    }
}

/// `[3, 17]` for element `at`.
fn place(shape: &Shape, at: usize) -> String {
    let index: Vec<usize> = shape.strides().iter().zip(shape.iter()).map(|(stride, n)| at / stride % n).collect();
    format!("{index:?}")
}
