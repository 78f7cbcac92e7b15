//! The inputs of a runner: which there are, and whether what is written fits.

use crate::error::{Error, Result};
use crate::graph::plan::Plan;
use crate::tensor::{DType, Spec};

/// Inputs by name. Those that nothing in the plan depends on take what is written to them and drop it.
pub(super) struct Inputs {
    read: Vec<(String, Spec)>,
    unread: Vec<(String, Spec)>,
}

impl Inputs {
    pub fn of(plan: &Plan) -> Inputs {
        Inputs { read: plan.inputs.clone(), unread: plan.unread.clone() }
    }

    /// The number of input `name` among those of the plan, if `len` values of `dtype` can be written to it; None where nothing
    /// depends on it.
    ///
    /// # Errors
    /// A name that no input has; another number of values, or another type.
    pub fn place(&self, name: &str, dtype: DType, len: usize) -> Result<Option<usize>> {
        let all = || self.read.iter().chain(&self.unread);
        let Some((place, (_, spec))) = all().enumerate().find(|(_, (known, _))| known == name) else {
            return Err(Error::unknown("input", name, all().map(|(name, _)| name.as_str())));
        };
        let wants = spec.shape.elements();
        if wants != len {
            return Err(Error::Usage(format!("input {name} is {}: it takes {wants} values, not {len}", spec.shape)));
        }
        if (spec.dtype == DType::U32) != (dtype == DType::U32) {
            return Err(Error::Usage(format!("input {name} is of {:?}, and {dtype:?} was given", spec.dtype)));
        }
        Ok(Some(place).filter(|&place| place < self.read.len()))
    }
}
