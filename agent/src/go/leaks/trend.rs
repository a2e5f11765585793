//! Trends in short series: the slope of Theil and Sen with its confidence bounds.
//!
//! The slope is the median of the slopes between all pairs of points, so that a few odd points do not move it. Its bounds come from
//! the variance of Kendall's S, corrected for ties (P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau",
//! Journal of the American Statistical Association 63, 1968; H. Theil, 1950; M. G. Kendall, "Rank Correlation Methods", 1955).

/// Most points that are taken, the last ones: pairs grow with the square.
pub const POINTS_MAX: usize = 64;

/// Two-sided 95 % of the normal distribution.
const Z_95: f64 = 1.959_964;

/// A slope in units of y by unit of x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// The median of the slopes between pairs.
    pub median: f64,
    /// Lower bound at 95 %.
    pub low: f64,
    /// Upper bound at 95 %.
    pub high: f64,
}

/// The slope through `points` of (x, y). None where fewer than two of them differ in x.
pub fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    let points = points.get(points.len().saturating_sub(POINTS_MAX)..)?;
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (at, (x, y)) in points.iter().enumerate() {
        for (later_x, later_y) in points.iter().skip(at + 1) {
            let step = later_x - x;
            if step.abs() > f64::EPSILON {
                slopes.push((later_y - y) / step);
            }
        }
    }
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let pairs = to_float(slopes.len());
    let reach = Z_95 * variance_of_s(points).sqrt();
    // Ranks count from 1: the M1-th and the (M2 + 1)-th of the sorted slopes, between them by interpolation.
    let low = at_rank(&slopes, (pairs - reach) / 2.0);
    let high = at_rank(&slopes, f64::midpoint(pairs, reach) + 1.0);
    let middle = f64::midpoint(1.0, pairs);
    Some(Slope { median: at_rank(&slopes, middle), low, high })
}

/// What is left of y when its part that follows x is taken away: y − b·x with b the slope of y over x.
pub fn residuals(points: &[(f64, f64)]) -> Vec<f64> {
    let steepness = slope(points).map_or(0.0, |slope| slope.median);
    points.iter().map(|(x, y)| y - steepness * x).collect()
}

/// Variance of Kendall's S: (n(n−1)(2n+5) − Σ t(t−1)(2t+5)) / 18, with t the sizes of groups of equal y.
fn variance_of_s(points: &[(f64, f64)]) -> f64 {
    let term = |n: f64| n * (n - 1.0) * 2.0f64.mul_add(n, 5.0);
    let mut values: Vec<f64> = points.iter().map(|(_, y)| *y).collect();
    values.sort_unstable_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|a, b| a.total_cmp(b).is_eq()).map(|group| term(to_float(group.len()))).sum();
    ((term(to_float(points.len())) - ties) / 18.0).max(0.0)
}

/// The value at `rank`, from 1, between two by interpolation; the first or last beyond them.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the indices of the slice")]
fn at_rank(sorted: &[f64], rank: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let place = (rank - 1.0).clamp(0.0, to_float(last));
    let below = place.floor() as usize;
    let (Some(from), Some(to)) = (sorted.get(below), sorted.get((below + 1).min(last))) else { return f64::NAN };
    (to - from).mul_add(place - place.floor(), *from)
}

/// A length as a float; exact, as lengths here are small.
fn to_float(length: usize) -> f64 {
    f64::from(u32::try_from(length).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over_time(values: &[f64]) -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(at, y)| (to_float(at), *y)).collect()
    }

    #[track_caller]
    fn check(values: &[f64], want: (f64, f64, f64)) {
        let found = slope(&over_time(values)).expect("points differ");
        for (found, want) in [(found.median, want.0), (found.low, want.1), (found.high, want.2)] {
            assert!((found - want).abs() < 1e-6, "{values:?}: {found} and not {want}");
        }
    }

    #[test]
    fn lines_and_outliers() {
        check(&[1.0, 3.0, 5.0, 7.0, 9.0, 11.0], (2.0, 2.0, 2.0));
        check(&[4.0; 6], (0.0, 0.0, 0.0));
        let bent = slope(&over_time(&[1.0, 2.0, 3.0, 400.0, 5.0, 6.0, 7.0])).expect("points differ");
        assert!((bent.median - 1.0).abs() < 1e-9, "an odd point does not move it: {bent:?}");
        assert!(slope(&[]).is_none() && slope(&[(1.0, 1.0)]).is_none() && slope(&[(1.0, 1.0), (1.0, 2.0)]).is_none());
    }

    /// Bounds computed by hand from the definitions: 6 points, 15 pairs, Var(S) = 6·5·17/18, C = 1.96·5.3229 = 10.4327.
    #[test]
    fn bounds_are_sens() {
        let values = [0.0, 2.0, 1.0, 4.0, 3.0, 6.0];
        let mut slopes: Vec<f64> = Vec::new();
        for i in 0..6 {
            for j in i + 1..6 {
                slopes.push((values[j] - values[i]) / to_float(j - i));
            }
        }
        slopes.sort_unstable_by(f64::total_cmp);
        let reach = 1.959_964 * (510.0f64 / 18.0).sqrt();
        let rank = (15.0 - reach) / 2.0;
        let low = slopes[1] + (slopes[2] - slopes[1]) * (rank - 2.0);
        assert!((2.0..3.0).contains(&rank));
        let found = slope(&over_time(&values)).expect("points differ");
        assert!((found.low - low).abs() < 1e-9 && (found.median - slopes[7]).abs() < 1e-9, "{found:?}");
        assert!(found.low <= found.median && found.median <= found.high);
    }

    #[test]
    fn noise_has_no_significant_slope_and_a_trend_has() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut alarms = 0;
        for _ in 0..400 {
            let noise: Vec<f64> = (0..12).map(|_| random.f64() * 10.0).collect();
            alarms += u32::from(slope(&over_time(&noise)).is_some_and(|slope| slope.low > 0.0));
        }
        assert!(alarms <= 24, "two-sided 95 %: some 2.5 % of 400 are above, found {alarms}");
        let rising: Vec<f64> = (0..12).map(|at| f64::from(at) * 3.0 + random.f64() * 10.0).collect();
        assert!(slope(&over_time(&rising)).is_some_and(|slope| slope.low > 0.0));
    }

    #[test]
    fn what_follows_load_leaves_nothing() {
        let mut random = fastrand::Rng::with_seed(3);
        let load: Vec<f64> = (0..16).map(|at| 100.0 + f64::from(at) * 20.0 + random.f64() * 40.0).collect();
        let followed: Vec<_> = load.iter().map(|x| (*x, 0.5 * x + 3.0)).collect();
        assert!(residuals(&followed).iter().all(|left| (left - 3.0).abs() < 1e-6));
    }
}
