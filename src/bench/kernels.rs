//! The examples of the kernels as rows of a table, by name.

use super::Scale;
use crate::error::{Error, Result, nearest};
use crate::kernels::KERNELS;
use crate::kernels::example::Example;

/// The names of all kernels.
pub fn names() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().map(|kernel| kernel.name)
}

/// The examples of kernel `name`, or those whose own name begins with it, as `gather` of the kernel `embedding`; without a name
/// all of them.
///
/// # Errors
/// If there are none; the error names the nearest kernel and all others.
pub fn cases(name: Option<&str>, scale: Scale) -> Result<Vec<Example>> {
    let all = KERNELS.iter().flat_map(|kernel| (kernel.examples)(scale).into_iter().map(|e| (kernel.name, e)));
    let chosen = |kernel: &str, example: &Example| {
        name.is_none_or(|name| {
            kernel == name || KERNELS.iter().all(|k| k.name != name) && example.name.starts_with(name)
        })
    };
    let all: Vec<Example> = all.filter(|(kernel, e)| chosen(kernel, e)).map(|(_, e)| e).collect();
    if all.is_empty() {
        let wanted = name.unwrap_or_default();
        let near = nearest(wanted, names()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let known = names().collect::<Vec<_>>().join(", ");
        return Err(Error::Usage(format!("no kernel is called {wanted:?}{near} (known: {known})")));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kernel_is_told_the_nearest() {
        let Err(e) = cases(Some("sofmax"), Scale::Quick) else { panic!("there is none") };
        assert!(e.to_string().contains("did you mean softmax?"), "{e}");
        assert_eq!(e.exit_code(), 2);
    }

    #[test]
    fn full_and_quick_have_the_same_cases_and_no_two_alike() {
        let all = |scale| cases(None, scale).unwrap().into_iter().map(|e| (e.name, e.sizes));
        let named = |scale| all(scale).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(named(Scale::Full), named(Scale::Quick));
        for scale in [Scale::Large, Scale::Full, Scale::Quick] {
            let distinct: std::collections::HashSet<_> = all(scale).collect();
            assert_eq!(distinct.len(), all(scale).count());
        }
    }

    /// Unique bytes by hand.
    #[test]
    fn bytes_are_counted_once() {
        let cost = |name: &str, case: &str| {
            let all = cases(Some(name), Scale::Quick).unwrap();
            all.iter().find(|c| c.name == case).unwrap().cost().unwrap()
        };
        let (rows, d) = (Scale::Quick.rows() as u64, Scale::Quick.width() as u64);
        let n = rows * d;
        for (name, case, bytes) in [
            ("gather", "gather contiguous", 8 * n + 4 * rows),
            ("softmax", "softmax", 8 * n),
            ("softmax", "softmax backward", 12 * n),
            ("elementwise", "elementwise", 12 * n),
            ("adam", "lazy adam", 28 * 40 * d),
        ] {
            assert_eq!(cost(name, case).bytes, bytes, "{case}");
        }
        assert_eq!(cost("matmul", "matmul").flops, 2 * 2100 * d * 33);
        // The product, and a look at each score: what is read of the scores to find the targets' is next to nothing.
        let (users, items) = (32, 500);
        let scores = 4 * users * items;
        let rank = cost("rank", "full ranking").bytes;
        assert!(rank < 2 * scores + 4 * d * (users + items) + 4 * (2 * items + 8 * users), "{rank}");
    }
}
