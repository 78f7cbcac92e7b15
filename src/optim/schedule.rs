//! How the learning rate changes over a training.

/// What follows the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "train", derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema))]
#[cfg_attr(feature = "train", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Schedule {
    /// It stays.
    #[default]
    Constant,
    /// It falls in a straight line, to 0 after the last step.
    Linear,
    /// It falls by half a cosine, to 0 after the last step (Loshchilov and Hutter, ICLR 2017, without restarts).
    Cosine,
}

impl Schedule {
    /// The factor on the learning rate at step `step` (from 0) of `total`. It rises linearly over the first `warmup` steps.
    pub fn factor(self, step: u64, warmup: u64, total: u64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let done = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear => (1.0 - done).max(0.0),
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule::{Constant, Cosine, Linear};

    #[test]
    fn rises_then_falls() {
        assert_eq!([0, 1, 3].map(|s| Linear.factor(s, 4, 10)), [0.25, 0.5, 1.0]);
        assert_eq!([4, 7, 10, 12].map(|s| Linear.factor(s, 4, 10)), [1.0, 0.5, 0.0, 0.0]);
        assert_eq!([0, 9, 99].map(|s| Constant.factor(s, 0, 10)), [1.0; 3]);
        let cosine = [4, 7, 10].map(|s| Cosine.factor(s, 4, 10));
        assert!(cosine.iter().zip([1.0, 0.5, 0.0]).all(|(got, want)| (got - want).abs() < 1e-12), "{cosine:?}");
    }
}
