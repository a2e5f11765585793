//! Stale markers: which series a source stopped reporting, so that queries drop them at once and not after the lookback.
//!
//! One [`Tracker`] belongs to one source (a collector, a target). It remembers the label sets of the last round; a set
//! that the next round lacks gets a marker at that round's time. Samples that carry a page's own timestamp are not
//! tracked, as in Prometheus: the page says when they were true.

use std::collections::{HashMap, HashSet};

use model::LabelsRef;

use crate::readings::Readings;

/// Most series one source may have tracked; those above get no marker when they vanish.
pub const TRACKED_SERIES_MAX: usize = 200_000;

/// The series of one source in its last round.
#[derive(Debug, Default)]
pub struct Tracker {
    /// Packed labels, and what the series was last.
    seen: HashMap<Box<str>, Seen>,
    round: u32,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The round it was last seen in.
    round: u32,
    of_histograms: bool,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares the series of `readings` from number `from` on with the last round's, and adds a stale marker for each
    /// one that is gone. Returns how many were added.
    pub fn observe(&mut self, readings: &mut Readings, from: usize) -> usize {
        self.round = self.round.wrapping_add(1);
        for (labels, values) in readings.iter().skip(from) {
            if values.timestamp_ms() != Some(readings.timestamp_ms()) {
                continue;
            }
            let now = Seen { round: self.round, of_histograms: values.histogram().is_some() };
            if let Some(seen) = self.seen.get_mut(labels.packed()) {
                *seen = now;
            } else if self.seen.len() < TRACKED_SERIES_MAX {
                self.seen.insert(labels.packed().into(), now);
            }
        }
        let before = self.seen.len();
        let round = self.round;
        self.seen.retain(|packed, last| {
            if last.round != round {
                mark(packed, *last, readings);
            }
            last.round == round
        });
        before - self.seen.len()
    }

    /// Adds a stale marker for every series: the source is gone. Returns how many were added.
    pub fn end(&mut self, readings: &mut Readings) -> usize {
        let count = self.seen.len();
        for (packed, last) in self.seen.drain() {
            mark(&packed, last, readings);
        }
        count
    }

    /// How many series the last round had.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether the last round had none.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

/// Adds the markers of `ended` to `readings`, but for series that these have from number `from` on: what they are called has passed to
/// another source in the same round.
pub fn add_ended(readings: &mut Readings, from: usize, ended: &Readings) {
    if ended.is_empty() {
        return;
    }
    let now: HashSet<&str> = readings.iter().skip(from).map(|(labels, _)| labels.packed()).collect();
    let mut gone = Readings::new(readings.timestamp_ms());
    for (labels, values) in ended.iter().filter(|(labels, _)| !now.contains(labels.packed())) {
        gone.push_stale(labels, values.histogram().is_some());
    }
    readings.append(&gone);
}

fn mark(packed: &str, last: Seen, readings: &mut Readings) {
    if let Ok(labels) = LabelsRef::from_packed(packed) {
        readings.push_stale(labels, last.of_histograms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds rounds of metric names; returns the names marked stale in each.
    fn run(rounds: &[&[&str]]) -> Vec<Vec<String>> {
        let mut tracker = Tracker::new();
        let mut all = Vec::new();
        for (at, names) in (1i64..).zip(rounds) {
            let mut readings = Readings::new(at);
            readings.push_named("other_source", &[], 1.0);
            for name in *names {
                readings.push_named(name, &[], 1.0);
            }
            tracker.observe(&mut readings, 1);
            all.push(stale_names(&readings));
        }
        all
    }

    fn stale_names(readings: &Readings) -> Vec<String> {
        let mut names: Vec<_> = readings
            .iter()
            .filter(|(_, values)| values.is_stale_marker())
            .map(|(labels, _)| labels.to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_vanished_is_marked_and_once() {
        let want: [&[&str]; 4] = [&[], &["b"], &[], &["a", "c"]];
        assert_eq!(run(&[&["a", "b"], &["a", "c"], &["a", "c"], &[]]), want);
        let want: [&[&str]; 3] = [&[], &["a"], &[]];
        assert_eq!(run(&[&["a"], &[], &["a"]]), want, "a series that returns is tracked again");
    }

    #[test]
    fn the_end_marks_everything() {
        let mut tracker = Tracker::new();
        let mut readings = Readings::new(1);
        readings.push_named("a", &[], 1.0);
        tracker.observe(&mut readings, 0);
        let mut last = Readings::new(2);
        assert_eq!(tracker.end(&mut last), 1);
        assert_eq!(stale_names(&last), ["a"]);
        assert!(tracker.is_empty());
    }

    #[test]
    fn what_passed_to_another_source_did_not_end() {
        let mut ended = Readings::new(2);
        for name in ["a", "b"] {
            ended.push_named(name, &[], model::sample::stale_marker());
        }
        let mut readings = Readings::new(2);
        readings.push_named("a", &[], 1.0);
        readings.push_named("b", &[], 1.0);
        add_ended(&mut readings, 1, &ended);
        assert_eq!((stale_names(&readings), readings.len()), (vec!["a".to_owned()], 3));
    }

    #[test]
    fn a_histogram_ends_with_a_histogram() {
        let mut tracker = Tracker::new();
        let mut readings = Readings::new(1);
        let histogram = model::Histogram { count: 1.0, zero_count: 1.0, ..model::Histogram::default() };
        readings.push_histogram(&crate::readings::Metric::histogram("h", "H."), &[], histogram);
        assert_eq!(tracker.observe(&mut readings, 0), 0);
        let mut next = Readings::new(2);
        assert_eq!(tracker.observe(&mut next, 0), 1);
        assert!(next.histogram_of("h").is_some_and(model::Histogram::is_stale_marker));
    }

    #[test]
    fn samples_with_their_own_timestamp_are_not_tracked() {
        let mut tracker = Tracker::new();
        let mut builder = model::LabelsBuilder::new();
        builder.push(model::METRIC_NAME, "a");
        let mut readings = Readings::new(10);
        readings.push_scraped(&mut builder, 1.0, Some(3));
        tracker.observe(&mut readings, 0);
        assert!(tracker.is_empty());
    }
}
