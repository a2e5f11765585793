//! Adding and subtracting histograms, two of them or many.
//!
//! Owns what becomes of counts, sums and hints; layouts are brought together by `layout`.

use model::Histogram;
use model::histogram::{Bucket, ResetHint};

use super::layout::{Layout, Slot, Summed};
use crate::compensated::CompensatedSum;

/// Histograms with exponential and with custom buckets do not combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("histograms with exponential and with custom buckets do not combine")]
pub(crate) struct MixedKinds;

/// Two histograms added or subtracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The result, in canonical form.
    pub(crate) histogram: Histogram,
    /// One counter began anew, the other went on: a warning is due.
    pub(crate) hints_conflict: bool,
    /// Custom bounds differed, those they share were used: an info is due.
    pub(crate) bounds_reconciled: bool,
}

/// `a + b`.
///
/// # Errors
///
/// One has exponential buckets, the other custom ones.
pub(crate) fn add(a: &Histogram, b: &Histogram) -> Result<Joined, MixedKinds> {
    let mut total = Total::<Bucket>::starting_at(a);
    let bounds_reconciled = total.add(b, 1.0)?;
    let (hint, hints_conflict) = joined_hint(a.reset_hint, b.reset_hint);
    Ok(Joined { histogram: total.finish(hint), hints_conflict, bounds_reconciled })
}

/// `a - b`, which is a gauge.
///
/// # Errors
///
/// One has exponential buckets, the other custom ones.
pub(crate) fn subtract(a: &Histogram, b: &Histogram) -> Result<Joined, MixedKinds> {
    let mut total = Total::<Bucket>::starting_at(a);
    let bounds_reconciled = total.add(b, -1.0)?;
    let (_, hints_conflict) = joined_hint(a.reset_hint, b.reset_hint);
    Ok(Joined { histogram: total.finish(ResetHint::Gauge), hints_conflict, bounds_reconciled })
}

/// The hint of a sum, and whether the two contradict each other.
fn joined_hint(a: ResetHint, b: ResetHint) -> (ResetHint, bool) {
    use ResetHint as H;
    match (a, b) {
        (a, b) if a == b => (a, false),
        (H::Gauge, _) | (_, H::Gauge) => (H::Gauge, false),
        (H::Unknown, _) | (_, H::Unknown) => (H::Unknown, false),
        _ => (H::Unknown, true),
    }
}

/// A histogram in the making, to which others are added.
#[derive(Debug, Clone)]
pub(super) struct Total<S> {
    pub(super) layout: Layout<S>,
    pub(super) count: S,
    pub(super) sum: S,
}

impl<S: Slot> Total<S> {
    /// Begins with one.
    pub(super) fn starting_at(first: &Histogram) -> Self {
        Self { layout: Layout::of(first), count: S::new(0, first.count), sum: S::new(0, first.sum) }
    }

    /// Adds one, multiplied by `sign`. Whether custom bounds differed.
    ///
    /// # Errors
    ///
    /// It is of the other kind.
    pub(super) fn add(&mut self, other: &Histogram, sign: f64) -> Result<bool, MixedKinds> {
        if (self.layout.schema == model::histogram::CUSTOM_SCHEMA) != other.is_custom() {
            return Err(MixedKinds);
        }
        self.count.add(sign * other.count);
        self.sum.add(sign * other.sum);
        if self.layout.fits(other) {
            self.layout.add(other, sign);
            return Ok(false);
        }
        let mut layout = Layout::<Bucket>::of(other);
        let reconciled = self.layout.reconcile(&mut layout);
        self.layout.add(&layout.finish(|bucket| bucket.count), sign);
        Ok(reconciled)
    }

    /// The result.
    pub(super) fn finish(self, reset_hint: ResetHint) -> Histogram {
        self.finish_as(reset_hint, |slot| slot.total())
    }

    /// The result, each count as `count` has it.
    pub(super) fn finish_as(self, reset_hint: ResetHint, count: impl Fn(S) -> f64) -> Histogram {
        let (observations, sum) = (count(self.count), count(self.sum));
        Histogram { reset_hint, count: observations, sum, ..self.layout.finish(count) }
    }
}

impl Total<Summed> {
    /// Changes all counts.
    pub(super) fn for_each(&mut self, mut change: impl FnMut(&mut CompensatedSum)) {
        for slot in self.layout.positive.iter_mut().chain(&mut self.layout.negative) {
            change(&mut slot.count);
        }
        for slot in [&mut self.layout.zero, &mut self.count, &mut self.sum] {
            change(&mut slot.count);
        }
    }

    /// Whether some count left the range of a double.
    pub(super) fn overflows(&self) -> bool {
        let single = [&self.layout.zero, &self.count, &self.sum];
        let buckets = self.layout.positive.iter().chain(&self.layout.negative);
        buckets.chain(single).any(|slot| slot.count.is_infinite())
    }
}

/// What was seen of the hints of histograms that are summed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hints {
    joined: ResetHint,
    reset_seen: bool,
    not_reset_seen: bool,
}

impl Hints {
    /// The hint of the first.
    pub(super) fn of(first: ResetHint) -> Self {
        Self { joined: first, reset_seen: false, not_reset_seen: false }.seen(first)
    }

    fn seen(mut self, hint: ResetHint) -> Self {
        self.reset_seen |= hint == ResetHint::Reset;
        self.not_reset_seen |= hint == ResetHint::NotReset;
        self
    }

    /// Adds the hint of the next.
    pub(super) fn add(&mut self, hint: ResetHint) {
        *self = Self { joined: joined_hint(self.joined, hint).0, ..self.seen(hint) };
    }

    /// The hint of the sum.
    pub(super) fn joined(self) -> ResetHint {
        self.joined
    }

    /// Whether any two contradict each other.
    pub(super) fn conflict(self) -> bool {
        self.reset_seen && self.not_reset_seen
    }
}

/// The sum of many histograms. Every count is compensated for what its additions lose.
#[derive(Debug, Clone)]
pub(crate) struct HistogramSum {
    total: Total<Summed>,
    hints: Hints,
    bounds_reconciled: bool,
}

impl HistogramSum {
    /// Begins with one.
    pub(crate) fn starting_at(first: &Histogram) -> Self {
        Self { total: Total::starting_at(first), hints: Hints::of(first.reset_hint), bounds_reconciled: false }
    }

    /// Adds one.
    ///
    /// # Errors
    ///
    /// It has exponential buckets and the others custom ones, or the reverse; there is no sum then.
    pub(crate) fn add(&mut self, next: &Histogram) -> Result<(), MixedKinds> {
        self.bounds_reconciled |= self.total.add(next, 1.0)?;
        self.hints.add(next.reset_hint);
        Ok(())
    }

    /// The sum.
    pub(crate) fn finish(self) -> Joined {
        Joined {
            hints_conflict: self.hints.conflict(),
            bounds_reconciled: self.bounds_reconciled,
            histogram: self.total.finish(self.hints.joined()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, histogram};
    use super::*;

    #[track_caller]
    fn check_add(a: &str, b: &str, want: &str) {
        check(&add(&histogram(a), &histogram(b)).expect("of a kind").histogram, want);
    }

    #[track_caller]
    fn check_subtract(a: &str, b: &str, want: &str) {
        check(&subtract(&histogram(a), &histogram(b)).expect("of a kind").histogram, want);
    }

    #[test]
    fn schemas_are_reduced_to_the_coarser_one() {
        check_add(
            "schema:-1 sum:4 count:1 buckets:[1] offset:1",
            "sum:4 count:4 buckets:[2 2] offset:1",
            "schema:-1 count:5 sum:8 offset:1 buckets:[5]",
        );
        let big = "count:41 sum:2345.6 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] \
                   n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]";
        let small = "count:11 sum:1234.5 z_bucket:3 z_bucket_w:0.001 buckets:[0 2 1] n_buckets:[0 0 3 2]";
        check_subtract(
            big,
            small,
            "count:30 sum:1111.1 z_bucket:2 z_bucket_w:0.001 buckets:[1 1 0 2 1 1 1] \
             n_buckets:[0 1 1 0 7 0 0 0 0 5 5 2] counter_reset_hint:gauge",
        );
        check_subtract(
            big,
            &format!("schema:1 {small}"),
            "count:30 sum:1111.1 z_bucket:2 z_bucket_w:0.001 buckets:[1 0 1 2 1 1 1] \
             n_buckets:[0 -2 2 2 7 0 0 0 0 5 5 2]",
        );
        check_subtract(
            &format!("schema:1 {small}"),
            big,
            "count:-30 sum:-1111.1 z_bucket:-2 z_bucket_w:0.001 buckets:[-1 0 -1 -2 -1 -1 -1] \
             n_buckets:[0 2 -2 -2 -7 0 0 0 0 -5 -5 -2]",
        );
    }

    #[test]
    fn zero_buckets_are_widened() {
        let narrow = "count:12 z_bucket:2 z_bucket_w:0.1 buckets:[1 2 3] n_buckets:[1 0 3] offset:-1 n_offset:-1";
        // Buckets: (0.25,0.5], (0.5,1], (1,2] and the mirrored ones.
        check_add(
            narrow,
            "count:1 z_bucket:1 z_bucket_w:0.5",
            "count:13 z_bucket:5 z_bucket_w:0.5 buckets:[2 3] n_buckets:[0 3]",
        );
        // 0.7 cuts the populated (0.5,1].
        check_add(
            narrow,
            "count:1 z_bucket:1 z_bucket_w:0.7",
            "count:13 z_bucket:7 z_bucket_w:1 buckets:[3] offset:1 n_buckets:[3] n_offset:1",
        );
        check_add(
            "count:1 z_bucket:1 z_bucket_w:0.7",
            narrow,
            "count:13 z_bucket:7 z_bucket_w:1 buckets:[3] offset:1 n_buckets:[3] n_offset:1",
        );
        // 1.5 cuts (1,4] of the coarse one, 4 cuts nothing more; (2,4] of the fine one goes in, too.
        check_add(
            "schema:-1 count:5 z_bucket_w:0.1 buckets:[2 3] offset:1",
            "count:7 z_bucket:1 z_bucket_w:1.5 buckets:[4 2] offset:2",
            "schema:-1 count:12 z_bucket:7 z_bucket_w:4 buckets:[5] offset:2",
        );
    }

    #[test]
    fn custom_bounds_are_reconciled() {
        let a = histogram("schema:-53 sum:55 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]");
        let b = histogram(
            "schema:-53 sum:555 count:450 custom_values:[1 2 3 4 5 6 7 8] buckets:[10 20 30 40 50 60 70 80 90]",
        );
        let joined = subtract(&b, &a).expect("of a kind");
        assert!(joined.bounds_reconciled);
        check(&joined.histogram, "schema:-53 sum:500 count:435 custom_values:[2 4 6] buckets:[29 68 105 233]");
        assert!(!add(&a, &a).expect("of a kind").bounds_reconciled);
        let none = histogram("schema:-53 count:3 custom_values:[5] buckets:[3]");
        check(&add(&a, &none).expect("of a kind").histogram, "schema:-53 sum:55 count:18 buckets:[18]");
        assert_eq!(add(&a, &histogram("count:1 buckets:[1]")), Err(MixedKinds));
    }

    #[test]
    fn hints_are_joined() {
        use ResetHint as H;
        for (a, b, want) in [
            (H::Reset, H::Reset, (H::Reset, false)),
            (H::Gauge, H::Reset, (H::Gauge, false)),
            (H::NotReset, H::Gauge, (H::Gauge, false)),
            (H::Unknown, H::NotReset, (H::Unknown, false)),
            (H::Reset, H::NotReset, (H::Unknown, true)),
        ] {
            let of = |reset_hint| Histogram { reset_hint, ..Histogram::default() };
            let joined = add(&of(a), &of(b)).expect("of a kind");
            assert_eq!((joined.histogram.reset_hint, joined.hints_conflict), want);
            let difference = subtract(&of(a), &of(b)).expect("of a kind");
            assert_eq!((difference.histogram.reset_hint, difference.hints_conflict), (H::Gauge, want.1));
            let mut sum = HistogramSum::starting_at(&of(a));
            sum.add(&of(b)).expect("of a kind");
            let sum = sum.finish();
            assert_eq!((sum.histogram.reset_hint, sum.hints_conflict), want);
        }
    }

    #[test]
    fn many_are_summed_without_loss() {
        let of = |text: &str| histogram(text);
        let mut sum = HistogramSum::starting_at(&of("count:1 sum:1 z_bucket:1 buckets:[1 1]"));
        for next in [
            "count:1e100 sum:1e100 z_bucket:1e100 buckets:[0 1e100]",
            "schema:1 count:1 sum:1 z_bucket:1 buckets:[1 1 1]",
            "count:-1e100 sum:-1e100 z_bucket:-1e100 buckets:[0 -1e100]",
        ] {
            sum.add(&of(next)).expect("of a kind");
        }
        check(&sum.clone().finish().histogram, "count:2 sum:2 z_bucket:2 buckets:[2 3]");
        assert_eq!(sum.add(&of("schema:-53 count:1")), Err(MixedKinds));
        assert!(!sum.finish().bounds_reconciled);
    }
}
