//! Two sets of values, and whether they differ by more than they vary. Pure.
//!
//! A release's value is the median of what its processes showed, each by the median over the range. What it varies by are the quartiles of all
//! that was shown, each process with the same weight: over time, and from process to process.

use serde::Serialize;

/// Least change, of the larger value, that is told.
const CHANGE_MIN: f64 = 0.05;

/// What one release showed of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Side {
    pub(super) median: f64,
    /// Quartiles of all that was shown.
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) processes: usize,
}

impl Side {
    /// Of the values of each process.
    pub(super) fn of(processes: &[Vec<f64>]) -> Option<Self> {
        let mut medians: Vec<f64> = Vec::new();
        let mut weighted: Vec<(f64, f64)> = Vec::new();
        for values in processes {
            let mut values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
            values.sort_by(f64::total_cmp);
            let Some(median) = middle(&values) else { continue };
            medians.push(median);
            let weight = 1.0 / crate::render::number::count(values.len() as u64);
            weighted.extend(values.into_iter().map(|value| (value, weight)));
        }
        medians.sort_by(f64::total_cmp);
        weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let processes = medians.len();
        Some(Self {
            median: middle(&medians)?,
            lower: quantile(&weighted, 0.25)?,
            upper: quantile(&weighted, 0.75)?,
            processes,
        })
    }
}

/// The middle of sorted values; the mean of the two middle ones.
fn middle(sorted: &[f64]) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]))
}

/// The value up to which `part` of the weight lies.
fn quantile(sorted: &[(f64, f64)], part: f64) -> Option<f64> {
    let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    let mut below = 0.0;
    for (value, weight) in sorted {
        below += weight;
        // Sums of parts are a little off.
        if below >= total * part - 1e-9 {
            return Some(*value);
        }
    }
    sorted.last().map(|(value, _)| *value)
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    /// B by A, less one; unknown where A is zero.
    pub(super) ratio: Option<f64>,
    /// Whether the middle halves of both are apart and the medians differ by enough.
    pub(super) beyond_noise: bool,
}

impl Change {
    /// From `a` to `b`; a difference below `least` is none.
    pub(super) fn between(a: Side, b: Side, least: f64) -> Self {
        let difference = b.median - a.median;
        let apart = b.lower > a.upper || b.upper < a.lower;
        let enough = difference.abs() >= least && difference.abs() >= CHANGE_MIN * a.median.abs().max(b.median.abs());
        Self {
            ratio: (a.median != 0.0).then(|| difference / a.median.abs()),
            beyond_noise: apart && enough && difference != 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(processes: &[&[f64]]) -> Side {
        Side::of(&processes.iter().map(|values| values.to_vec()).collect::<Vec<_>>()).expect("values")
    }

    #[test]
    fn each_process_weighs_the_same() {
        let told = side(&[&[10.0; 90], &[20.0], &[20.0, f64::NAN, 20.0]]);
        assert_eq!((told.median, told.processes), (20.0, 3));
        assert_eq!((told.lower, told.upper), (10.0, 20.0), "a third of the weight is 10");
        assert_eq!(side(&[&[1.0, 2.0, 3.0, 4.0]]), Side { median: 2.5, lower: 1.0, upper: 3.0, processes: 1 });
        assert_eq!(Side::of(&[vec![], vec![f64::NAN]]), None);
    }

    #[test]
    fn noise_is_no_change() {
        let check = |a: &[&[f64]], b: &[&[f64]], want: bool| {
            let change = Change::between(side(a), side(b), 1.0);
            assert_eq!(change.beyond_noise, want, "{a:?} {b:?}");
            change
        };
        assert_eq!(check(&[&[100.0, 101.0, 102.0]], &[&[138.0, 139.0, 140.0]], true).ratio, Some(38.0 / 101.0));
        check(&[&[100.0, 101.0, 102.0]], &[&[103.0, 104.0, 105.0]], false);
        check(&[&[50.0, 100.0, 150.0]], &[&[60.0, 140.0, 200.0]], false);
        check(&[&[100.0], &[200.0]], &[&[150.0], &[210.0]], false);
        check(&[&[2.0]], &[&[2.5]], false);
        assert_eq!(check(&[&[0.0]], &[&[5.0]], true).ratio, None);
        assert_eq!(check(&[&[200.0]], &[&[100.0]], true).ratio, Some(-0.5));
    }
}
