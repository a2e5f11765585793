//! How long what is kept of a series, by rules on its labels.
//!
//! Rules are asked in their order and the first that matches counts; the last one is the retention of the whole engine
//! and matches all. A rule keeps samples for some time, and summaries of them by one window or more for longer. All
//! borders of a rule lie at ends of its longest window, so that no window is told in part.

use model::{Labels, Matcher};
use parking_lot::RwLock;
use roaring::RoaringBitmap;

use crate::damage::Damage;
use crate::ids::SeriesId;
use crate::index::SeriesIndex;
use crate::index::table::{PAGE_SERIES, place};

/// What is kept of the series that some matchers select.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifetimeRule {
    /// What the rule was written as, for people.
    pub text: String,
    /// What a series must fulfil.
    pub matchers: Vec<Matcher>,
    /// How long its samples are kept, in milliseconds; `None` for ever.
    pub raw_ms: Option<i64>,
    /// What is kept beyond that: windows and times ascend, each window divides the next and the day.
    pub steps: Vec<LifetimeStep>,
}

/// Summaries that a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifetimeStep {
    /// Length of a window, in milliseconds.
    pub window_ms: i64,
    /// How long summaries are kept, in milliseconds; `None` for ever.
    pub keep_ms: Option<i64>,
}

/// A rule at one moment: the first instants that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Life {
    /// Of samples one by one.
    pub(in crate::engine) raw_start_ms: i64,
    /// Of summaries, by window, which ascend.
    pub(in crate::engine) steps: Vec<(i64, i64)>,
}

impl Life {
    /// The first instant of which anything is kept.
    pub(in crate::engine) fn start_ms(&self) -> i64 {
        self.steps.iter().map(|(_, start_ms)| *start_ms).fold(self.raw_start_ms, i64::min)
    }

    /// From when on summaries by `window_ms` are shown; those the rule does not name, which an earlier one did, as
    /// long as anything is kept.
    pub(in crate::engine) fn summaries_start_ms(&self, window_ms: i64) -> i64 {
        let named = self.steps.iter().find(|(named_ms, _)| *named_ms == window_ms);
        named.map_or_else(|| self.start_ms(), |(_, start_ms)| *start_ms)
    }
}

impl LifetimeRule {
    /// A rule for all series without summaries.
    pub(in crate::engine) fn plain(raw_ms: Option<i64>) -> Self {
        Self { text: "retention".to_owned(), matchers: Vec::new(), raw_ms, steps: Vec::new() }
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
    }

    /// The rule at `now_ms`.
    pub(in crate::engine) fn at(&self, now_ms: i64) -> Life {
        let longest_ms = self.steps.last().map(|step| step.window_ms);
        let start_ms = |keep_ms: Option<i64>| {
            let Some(keep_ms) = keep_ms else { return i64::MIN };
            let start_ms = now_ms.saturating_sub(keep_ms);
            longest_ms
                .map_or(start_ms, |window_ms| start_ms.saturating_sub(start_ms.rem_euclid(window_ms)).saturating_add(1))
        };
        Life {
            raw_start_ms: start_ms(self.raw_ms),
            steps: self.steps.iter().map(|step| (step.window_ms, start_ms(step.keep_ms))).collect(),
        }
    }

    /// How long anything is kept; `None` for ever.
    pub(super) fn longest_ms(&self) -> Option<i64> {
        self.steps.iter().try_fold(self.raw_ms?, |one, step| Some(one.max(step.keep_ms?)))
    }
}

/// The rules, and which of them each series falls under.
#[derive(Debug)]
pub(in crate::engine) struct Lifetimes {
    /// The last is the retention of the engine.
    rules: Vec<LifetimeRule>,
    /// By page of series ids: for each the place of its rule and 1, or 0 where nobody asked yet. Labels of an id never
    /// change.
    known: RwLock<Vec<Option<Box<[u16; PAGE_SERIES]>>>>,
}

impl Lifetimes {
    pub(in crate::engine) fn new(rules: &[LifetimeRule], retention_ms: Option<i64>) -> Self {
        let rules = rules.iter().cloned().chain([LifetimeRule::plain(retention_ms)]).collect();
        Self { rules, known: RwLock::default() }
    }

    /// The rules in their order; the last one is the retention of the engine.
    pub(in crate::engine) fn rules(&self) -> &[LifetimeRule] {
        &self.rules
    }

    /// Whether all series fall under the retention of the engine.
    pub(in crate::engine) fn is_plain(&self) -> bool {
        self.rules.len() == 1
    }

    /// How long anything is kept of any series; `None` for ever.
    pub(in crate::engine) fn longest_ms(&self) -> Option<i64> {
        self.rules.iter().map(LifetimeRule::longest_ms).try_fold(0, |one, other| Some(one.max(other?)))
    }

    /// Every rule at `now_ms`.
    pub(in crate::engine) fn at(&self, now_ms: i64) -> Vec<Life> {
        self.rules.iter().map(|rule| rule.at(now_ms)).collect()
    }

    /// The windows that any rule has, ascending.
    pub(in crate::engine) fn windows(&self) -> Vec<i64> {
        let mut windows: Vec<i64> = self.rules.iter().flat_map(|rule| &rule.steps).map(|step| step.window_ms).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
    }

    /// The place of the rule that labels fall under.
    pub(in crate::engine) fn of_labels(&self, labels: &Labels) -> usize {
        self.rules.iter().position(|rule| rule.matches(labels)).unwrap_or(self.rules.len() - 1)
    }

    /// The place of the rule that a series falls under, by its `labels` if nobody asked before; one without any falls
    /// under the last.
    pub(in crate::engine) fn of(&self, id: SeriesId, labels: impl FnOnce() -> Option<Labels>) -> usize {
        if self.is_plain() {
            return 0;
        }
        let (number, slot) = place(id);
        let known = self.known.read().get(number).and_then(Option::as_ref).map_or(0, |page| page[slot]);
        if let Some(place) = known.checked_sub(1) {
            return usize::from(place);
        }
        let Some(labels) = labels() else { return self.rules.len() - 1 };
        let place = self.of_labels(&labels);
        let mut known = self.known.write();
        if known.len() <= number {
            known.resize_with(number + 1, || None);
        }
        let page = known[number].get_or_insert_with(|| Box::new([0; PAGE_SERIES]));
        page[slot] = u16::try_from(place + 1).unwrap_or(0);
        place
    }

    /// Forgets what was known of series, until somebody asks again.
    pub(in crate::engine) fn forget(&self, ids: &[SeriesId]) {
        let mut known = self.known.write();
        for &id in ids {
            let (number, slot) = place(id);
            let Some(of_page) = known.get_mut(number) else { continue };
            if let Some(page) = of_page {
                page[slot] = 0;
                if page.iter().all(|&place| place == 0) {
                    *of_page = None;
                }
            }
        }
    }

    /// Those of `ids` that fall under each rule; ids of no series fall under the last.
    pub(in crate::engine) fn split(
        &self,
        ids: &RoaringBitmap,
        series: &SeriesIndex,
    ) -> Result<Vec<RoaringBitmap>, Damage> {
        let mut left = ids.clone();
        let mut parts: Vec<RoaringBitmap> = Vec::with_capacity(self.rules.len());
        for rule in self.rules.iter().take(self.rules.len() - 1) {
            let mut part = series.select(&rule.matchers)?;
            part &= &left;
            left -= &part;
            parts.push(part);
        }
        parts.push(left);
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn rule(name: &str, raw_ms: Option<i64>, steps: &[(i64, Option<i64>)]) -> LifetimeRule {
        let steps = steps.iter().map(|&(window_ms, keep_ms)| LifetimeStep { window_ms, keep_ms }).collect();
        LifetimeRule { text: name.to_owned(), matchers: vec![Matcher::equal("__name__", name)], raw_ms, steps }
    }

    #[test]
    fn borders_lie_at_ends_of_the_longest_window() {
        let rule = rule("a", Some(1500), &[(100, Some(10_000)), (1000, None)]);
        let life = rule.at(20_250);
        assert_eq!(life, Life { raw_start_ms: 18_001, steps: vec![(100, 10_001), (1000, i64::MIN)] });
        assert_eq!(
            (life.start_ms(), life.summaries_start_ms(100), life.summaries_start_ms(50)),
            (i64::MIN, 10_001, i64::MIN)
        );
        assert_eq!(LifetimeRule::plain(Some(1500)).at(20_250).start_ms(), 18_750);
        assert_eq!(LifetimeRule::plain(None).at(20_250).start_ms(), i64::MIN);
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rules =
            [rule("a", Some(DAY_MS), &[]), rule("a", None, &[]), rule("b", Some(9 * DAY_MS), &[(300_000, None)])];
        let lifetimes = Lifetimes::new(&rules, Some(30 * DAY_MS));
        let series = SeriesIndex::default();
        for (id, name) in (0..).zip(["a", "b", "c", "a"]) {
            let labels = Labels::from_pairs([("__name__", name), ("id", &id.to_string())]).expect("valid");
            series.insert([(SeriesId(id), &labels)]);
        }
        let of: Vec<usize> =
            (0..5).map(|id| lifetimes.of(SeriesId(id), || series.labels(SeriesId(id)).expect("in memory"))).collect();
        assert_eq!(of, [0, 2, 3, 0, 3]);
        let parts = lifetimes.split(&(1..5).collect(), &series).expect("in memory");
        assert_eq!(
            parts.iter().map(|part| part.iter().collect()).collect::<Vec<Vec<u32>>>(),
            [vec![3], vec![], vec![1], vec![2, 4]]
        );
        assert_eq!((lifetimes.longest_ms(), lifetimes.windows()), (None, vec![300_000]));
        assert_eq!(Lifetimes::new(&rules[..1], Some(30 * DAY_MS)).longest_ms(), Some(30 * DAY_MS));
    }
}
