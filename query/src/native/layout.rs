//! Bringing histograms to a common bucket layout: coarser schemas, wider zero buckets, fewer custom bounds.
//!
//! Owns the layout of histograms in the making, whose counts are plain or compensated. Adding them is `combine`'s.

use model::Histogram;
use model::histogram::{Bucket, CUSTOM_SCHEMA};

use super::buckets::bound;
use crate::compensated::CompensatedSum;

/// The count of a bucket in the making.
pub(super) trait Slot: Copy {
    /// A bucket with a count.
    fn new(index: i32, count: f64) -> Self;
    /// Its index.
    fn index(&self) -> i32;
    /// Gives it another index.
    fn set_index(&mut self, index: i32);
    /// Adds to its count.
    fn add(&mut self, count: f64);
    /// Adds the count of another.
    fn absorb(&mut self, other: Self);
    /// The count so far.
    fn total(&self) -> f64;
}

impl Slot for Bucket {
    fn new(index: i32, count: f64) -> Self {
        Self { index, count }
    }

    fn index(&self) -> i32 {
        self.index
    }

    fn set_index(&mut self, index: i32) {
        self.index = index;
    }

    fn add(&mut self, count: f64) {
        self.count += count;
    }

    fn absorb(&mut self, other: Self) {
        self.count += other.count;
    }

    fn total(&self) -> f64 {
        self.count
    }
}

/// A bucket whose count is a compensated sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Summed {
    index: i32,
    pub(super) count: CompensatedSum,
}

impl Slot for Summed {
    fn new(index: i32, count: f64) -> Self {
        Self { index, count: CompensatedSum::starting_at(count) }
    }

    fn index(&self) -> i32 {
        self.index
    }

    fn set_index(&mut self, index: i32) {
        self.index = index;
    }

    fn add(&mut self, count: f64) {
        self.count.add(count);
    }

    fn absorb(&mut self, other: Self) {
        self.count.absorb(other.count);
    }

    fn total(&self) -> f64 {
        self.count.total()
    }
}

/// The buckets of a histogram in the making.
#[derive(Debug, Clone)]
pub(super) struct Layout<S> {
    pub(super) schema: i8,
    pub(super) zero_threshold: f64,
    pub(super) zero: S,
    pub(super) positive: Vec<S>,
    pub(super) negative: Vec<S>,
    pub(super) bounds: Vec<f64>,
}

impl<S: Slot> Layout<S> {
    /// The buckets of a histogram.
    pub(super) fn of(histogram: &Histogram) -> Self {
        let side = |buckets: &[Bucket]| buckets.iter().map(|bucket| S::new(bucket.index, bucket.count)).collect();
        Self {
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero: S::new(0, histogram.zero_count),
            positive: side(&histogram.positive),
            negative: side(&histogram.negative),
            bounds: histogram.custom_bounds.clone(),
        }
    }

    /// Whether the buckets of a histogram are numbered and bounded the same.
    #[expect(clippy::float_cmp, reason = "bounds are the same or not")]
    pub(super) fn fits(&self, histogram: &Histogram) -> bool {
        self.schema == histogram.schema
            && self.zero_threshold == histogram.zero_threshold
            && self.bounds == histogram.custom_bounds
    }

    fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Makes the layouts of both fit each other. Both are exponential or both custom. Whether custom bounds differed.
    pub(super) fn reconcile<T: Slot>(&mut self, other: &mut Layout<T>) -> bool {
        if self.is_custom() {
            if self.bounds == other.bounds {
                return false;
            }
            let shared = shared_bounds(&self.bounds, &other.bounds);
            self.move_to_bounds(&shared);
            other.move_to_bounds(&shared);
            return true;
        }
        // Each may have a populated bucket that the other's threshold cuts, and its end may cut one of the other.
        let mut threshold = self.zero_threshold.max(other.zero_threshold);
        loop {
            let next = other.uncut_threshold(self.uncut_threshold(threshold));
            if next <= threshold || next.is_nan() {
                break;
            }
            threshold = next;
        }
        self.widen_zero(threshold);
        other.widen_zero(threshold);
        let schema = self.schema.min(other.schema);
        self.reduce_to(schema);
        other.reduce_to(schema);
        false
    }

    /// The least zero threshold from `threshold` on that cuts no populated bucket; `threshold` if it is not wider than
    /// the one there is.
    pub(super) fn uncut_threshold(&self, mut threshold: f64) -> f64 {
        if threshold <= self.zero_threshold {
            return threshold;
        }
        loop {
            let before = threshold;
            for side in [&self.positive, &self.negative] {
                let below = side.partition_point(|slot| bound(self.schema, slot.index().saturating_sub(1)) < threshold);
                if let Some(last) = below.checked_sub(1).and_then(|at| side.get(at)) {
                    threshold = threshold.max(bound(self.schema, last.index()));
                }
            }
            if threshold <= before || threshold.is_nan() {
                return threshold;
            }
        }
    }

    /// Widens the zero bucket to a threshold that cuts no populated bucket.
    pub(super) fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold || threshold.is_nan() {
            return;
        }
        for side in [&mut self.positive, &mut self.negative] {
            let below = side.partition_point(|slot| bound(self.schema, slot.index().saturating_sub(1)) < threshold);
            side.drain(..below).for_each(|slot| self.zero.absorb(slot));
        }
        self.zero_threshold = threshold;
    }

    /// Lowers the resolution to that of a coarser schema.
    pub(super) fn reduce_to(&mut self, schema: i8) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let coarser = (self.schema - schema).unsigned_abs();
        for side in [&mut self.positive, &mut self.negative] {
            renumber(side, |slot| reduced_index(slot.index(), coarser));
        }
        self.schema = schema;
    }

    /// Moves custom buckets to bounds all of which they have.
    pub(super) fn move_to_bounds(&mut self, shared: &[f64]) {
        let bounds = std::mem::replace(&mut self.bounds, shared.to_vec());
        let mut to = 0;
        renumber(&mut self.positive, |slot| {
            let upper = usize::try_from(slot.index()).ok().and_then(|at| bounds.get(at));
            to = match upper {
                Some(upper) => to + shared[to..].iter().take_while(|bound| *bound < upper).count(),
                None => shared.len(),
            };
            i32::try_from(to).unwrap_or(i32::MAX)
        });
    }

    /// Adds buckets that fit, multiplied by `sign`.
    pub(super) fn add(&mut self, other: &Histogram, sign: f64) {
        self.zero.add(sign * other.zero_count);
        merge(&mut self.positive, &other.positive, sign);
        merge(&mut self.negative, &other.negative, sign);
    }

    /// The buckets as a histogram that has nothing else yet.
    pub(super) fn finish(self, count: impl Fn(S) -> f64) -> Histogram {
        let side = |slots: Vec<S>| -> Vec<Bucket> {
            let buckets = slots.into_iter().map(|slot| Bucket { index: slot.index(), count: count(slot) });
            buckets.filter(|bucket| bucket.count != 0.0).collect()
        };
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: count(self.zero),
            positive: side(self.positive),
            negative: side(self.negative),
            custom_bounds: self.bounds,
            ..Histogram::default()
        }
    }
}

/// The bucket that holds bucket `index` at a schema coarser by so many steps: `ceil(index / 2^steps)`.
pub(super) fn reduced_index(index: i32, coarser: u8) -> i32 {
    (index.saturating_sub(1) >> coarser.min(31)) + 1
}

/// The custom bounds that two histograms share.
pub(super) fn shared_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut b = b.iter().peekable();
    let mut shared = Vec::with_capacity(a.len().min(b.len()));
    for bound in a {
        while b.next_if(|other| *other < bound).is_some() {}
        if b.next_if_eq(&bound).is_some() {
            shared.push(*bound);
        }
    }
    shared
}

/// Gives slots new indexes, which ascend but may repeat; slots of the same index become one.
fn renumber<S: Slot>(slots: &mut Vec<S>, mut index: impl FnMut(&S) -> i32) {
    for slot in slots.iter_mut() {
        slot.set_index(index(slot));
    }
    slots.dedup_by(|next, kept| {
        let same = next.index() == kept.index();
        if same {
            kept.absorb(*next);
        }
        same
    });
}

/// Adds `from` times `sign` into `into`, both ascending by index, from the back: what is new makes room as it goes.
fn merge<S: Slot>(into: &mut Vec<S>, from: &[Bucket], sign: f64) {
    let mut old = into.len();
    let new = count_missing(into, from);
    into.resize(old + new, S::new(0, 0.0));
    let mut end = into.len();
    for bucket in from.iter().rev() {
        while old > 0 && into[old - 1].index() > bucket.index {
            (old, end) = (old - 1, end - 1);
            into[end] = into[old];
        }
        end -= 1;
        if old > 0 && into[old - 1].index() == bucket.index {
            old -= 1;
            into[end] = into[old];
            into[end].add(sign * bucket.count);
        } else {
            into[end] = S::new(bucket.index, sign * bucket.count);
        }
    }
}

/// How many buckets of `from` are not in `into`.
fn count_missing<S: Slot>(into: &[S], from: &[Bucket]) -> usize {
    let mut rest = into.iter().map(Slot::index).peekable();
    from.iter()
        .filter(|bucket| {
            while rest.next_if(|&index| index < bucket.index).is_some() {}
            rest.next_if_eq(&bucket.index).is_none()
        })
        .count()
}
