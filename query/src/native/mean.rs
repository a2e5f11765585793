//! The mean of many histograms: the compensated sum by their number, until the sum would overflow; incremental from
//! there on.

use model::Histogram;

use super::combine::{Hints, Joined, MixedKinds, Total};
use super::layout::Summed;
use super::scale::divide;

/// Up to here no count can have overflowed.
const SAFE_REACH: f64 = f64::MAX / 4.0;

/// The mean of many histograms.
#[derive(Debug, Clone)]
pub(crate) struct HistogramMean {
    /// The sum so far, or the mean so far once `incremental`.
    state: Total<Summed>,
    histograms: f64,
    incremental: bool,
    /// No count of the sum is farther from zero than this.
    reach: f64,
    hints: Hints,
    bounds_reconciled: bool,
}

impl HistogramMean {
    /// Begins with one.
    pub(crate) fn starting_at(first: &Histogram) -> Self {
        Self {
            state: Total::starting_at(first),
            histograms: 1.0,
            incremental: false,
            reach: reach(first),
            hints: Hints::of(first.reset_hint),
            bounds_reconciled: false,
        }
    }

    /// Adds one.
    ///
    /// # Errors
    ///
    /// It has exponential buckets and the others custom ones, or the reverse; there is no mean then.
    pub(crate) fn add(&mut self, next: &Histogram) -> Result<(), MixedKinds> {
        self.histograms += 1.0;
        self.hints.add(next.reset_hint);
        if !self.incremental {
            self.reach += reach(next);
            if self.reach < SAFE_REACH {
                self.bounds_reconciled |= self.state.add(next, 1.0)?;
                return Ok(());
            }
            let mut sum = self.state.clone();
            self.bounds_reconciled |= sum.add(next, 1.0)?;
            if !sum.overflows() {
                self.state = sum;
                return Ok(());
            }
            self.incremental = true;
            let before = self.histograms - 1.0;
            self.state.for_each(|count| count.divide(before));
        }
        let share = (self.histograms - 1.0) / self.histograms;
        self.state.for_each(|count| count.multiply(share));
        self.bounds_reconciled |= self.state.add(&divide(next, self.histograms), 1.0)?;
        Ok(())
    }

    /// The mean.
    pub(crate) fn finish(mut self) -> Joined {
        if !self.incremental {
            self.state.for_each(|count| count.divide(self.histograms));
        }
        Joined {
            hints_conflict: self.hints.conflict(),
            bounds_reconciled: self.bounds_reconciled,
            histogram: self.state.finish(self.hints.joined()),
        }
    }
}

/// A bound of how far any count is from zero; no number if one is none.
fn reach(histogram: &Histogram) -> f64 {
    let buckets = histogram.positive.iter().chain(&histogram.negative).map(|bucket| bucket.count.abs());
    histogram.count.abs() + histogram.sum.abs() + histogram.zero_count.abs() + buckets.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, histogram};
    use super::*;

    #[track_caller]
    fn check_mean(of: &[&str], want: &str) {
        let mut mean = HistogramMean::starting_at(&histogram(of[0]));
        of[1..].iter().for_each(|text| mean.add(&histogram(text)).expect("of a kind"));
        check(&mean.finish().histogram, want);
    }

    #[test]
    fn means() {
        check_mean(&["count:3 sum:7 buckets:[1 2]"], "count:3 sum:7 buckets:[1 2]");
        check_mean(
            &[
                "count:25 sum:1234.5 z_bucket:4 z_bucket_w:0.001 buckets:[1 2 0 1 1] n_buckets:[2 4 0 0 1 9]",
                "count:41 sum:2345.6 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] \
                 n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]",
                "count:41 sum:1111.1 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] \
                 n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]",
                "schema:1 count:0",
            ],
            "count:26.75 sum:1172.8 z_bucket:3.5 z_bucket_w:0.001 buckets:[0.75 2 0.5 1.25 0.75 0.5 0.5] \
             n_buckets:[0.5 1.5 2 1 3.75 2.25 0 0 0 2.5 2.5 1]",
        );
    }

    #[test]
    fn means_do_not_overflow() {
        let huge = "count:1e308 sum:-1e308 z_bucket:1e308 buckets:[1e308 4]";
        check_mean(&[huge; 7], huge);
        check_mean(
            &[huge, huge, "count:0 sum:0 buckets:[0 0 3e307]", "count:0"],
            "count:5e307 sum:-5e307 z_bucket:5e307 buckets:[5e307 2 7.5e306]",
        );
        check_mean(&["count:1 sum:inf", "count:3 sum:1"], "count:2 sum:inf");
    }
}
