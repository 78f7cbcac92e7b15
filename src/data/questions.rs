//! What people should know of data before they trust it.

use super::readers::{Clock, Interactions};

/// Years before or after all others from which on times are asked about.
const YEARS: i64 = 10;

/// Notes and questions, a line each.
pub(super) fn about(data: &Interactions) -> Vec<String> {
    [density(data), order(data), stray(data)].into_iter().flatten().collect()
}

fn density(data: &Interactions) -> Option<String> {
    let (users, items) = (data.user_names.len(), data.item_names.len());
    (data.len() > users * items).then(|| {
        let density = 100.0 * data.len() as f64 / (users as f64 * items as f64);
        format!("{density:.0}% of all pairs of a user and an item: are these the right columns for users and items?")
    })
}

fn order(data: &Interactions) -> Option<String> {
    match data.clock {
        Clock::File => Some("no times: the order of the file is the order of each history".to_string()),
        Clock::Order => Some("no times, only positions: their order is the order of each history".to_string()),
        _ => None,
    }
}

/// A few times that are far from all others: 0 and other marks of what is missing.
fn stray(data: &Interactions) -> Option<String> {
    let year = data.clock.per_second()?.checked_mul(365 * 86_400)?;
    let (&first, &last) = (data.time.iter().min()?, data.time.iter().max()?);
    let far = YEARS.checked_mul(year)?;
    if last.saturating_sub(first) < far {
        return None;
    }
    let few = (data.len() / 10).max(1);
    let edges = [(first, "before"), (last, "after")];
    let told = edges.into_iter().find_map(|(edge, side)| {
        let others = || data.time.iter().filter(|time| time.abs_diff(edge) > year as u64);
        let next = others().min_by_key(|time| time.abs_diff(edge))?;
        let count = data.len() - others().count();
        let years = next.abs_diff(edge) / year as u64;
        let stray = years >= YEARS as u64 && count <= few && count < data.len() - count;
        stray.then(|| format!("{count} times from {} on lie {years} years {side} all others", data.clock.show(edge)))
    });
    told.map(|told| format!("{told}: are they times, or marks of missing ones?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::tests::interactions;

    fn with_times(times: &[i64], clock: Clock) -> Vec<String> {
        let mut data = interactions(&[(0..times.len() as u32).collect()]);
        (data.time, data.clock) = (times.to_vec(), clock);
        about(&data)
    }

    #[test]
    fn times_far_from_all_others_are_asked_about() {
        let s = 1_000_000_000;
        let asked = with_times(&[0, s, s + 1, s + 2], Clock::Seconds).join("\n");
        assert_eq!(
            asked,
            "1 times from 1970-01-01 00:00:00 on lie 31 years before all others: are they times, or marks of missing ones?"
        );
        let late = with_times(&[s * 1000, s * 1000 + 1, 4_000_000_000_000], Clock::Milliseconds).join("\n");
        assert!(late.starts_with("1 times from 2096-10-02 07:06:40 on lie 95 years after all others"), "{late}");
        // Years in a row, as many early as late, and no clock at all.
        let years: Vec<i64> = (0..40).map(|year| year * 31_536_000).collect();
        assert_eq!(with_times(&years, Clock::Seconds), [""; 0]);
        assert_eq!(with_times(&[0, s], Clock::Seconds), [""; 0]);
    }

    #[test]
    fn data_without_times_say_so() {
        assert_eq!(with_times(&[0, 1], Clock::File), ["no times: the order of the file is the order of each history"]);
        assert!(with_times(&[0, 1], Clock::Order)[0].starts_with("no times, only positions"));
    }
}
