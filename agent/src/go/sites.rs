//! Which sites of a process get series of their own: the largest and those that grow most, the remainder in one series
//! `site="other"`, so that a program with thousands of sites makes tens of series.
//!
//! Sites enter by rank and leave later than they entered: one that was chosen stays until it has been out of twice the
//! rank for some rounds, so that two sites of like size do not change places at every reading. However a process is
//! read, its sites are chosen here. Numbers of one metric of one process are one [`SiteSeries`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use model::{MetricKind, MetricMetadata};

use super::census::{Census, Site};
use crate::collect::float;
use crate::readings::{Metric, Readings};

/// Value of label `site` for the remainder.
pub const OTHER: &str = "other";

/// Goroutines by site.
pub const GOROUTINES: Metric =
    Metric::gauge("go_goroutines_by_site", "Goroutines by where they were started and what they wait for.");
/// Heap in use by site.
pub const HEAP_INUSE: Metric =
    Metric::gauge("go_heap_inuse_bytes_by_site", "Bytes of live heap objects by the function that allocated them.");
/// Allocations by site.
pub const HEAP_ALLOCS: Metric = Metric::counter(
    "go_heap_allocs_bytes_by_site_total",
    "Bytes allocated on the heap by the function that allocated them.",
);
/// Waiting for mutexes by site.
pub const MUTEX_WAIT: Metric = Metric::counter(
    "go_mutex_wait_seconds_by_site_total",
    "Time that others waited for a mutex, by the function that held it.",
);
/// Blocking by site.
pub const BLOCK_WAIT: Metric = Metric::counter(
    "go_block_wait_seconds_by_site_total",
    "Time spent blocked in synchronization, by the function that waited.",
);

/// Whether a function belongs to the runtime.
pub fn is_runtime(function: &str) -> bool {
    ["runtime.", "internal/runtime/"].iter().any(|prefix| function.starts_with(prefix))
}

/// Whether a function locks or waits on behalf of its caller.
fn is_synchronization(function: &str) -> bool {
    ["sync.", "internal/sync.", "internal/poll.runtime_"].iter().any(|prefix| function.starts_with(prefix))
}

/// The site of an allocation: of the functions of its stack, the leaf first, the first that is not the runtime's.
pub fn allocation_site<'a>(mut functions: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    functions.clone().find(|function| !is_runtime(function)).or_else(|| functions.next())
}

/// The site of a wait or of a lock that others waited for: the first function of its stack that is neither the runtime's
/// nor one of package `sync`, in which all of them would be.
pub fn contention_site<'a>(functions: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let outside = |function: &&str| !is_runtime(function) && !is_synchronization(function);
    functions.clone().find(outside).or_else(|| allocation_site(functions))
}

/// How many sites are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sites chosen for their value.
    pub by_value: usize,
    /// Sites chosen for their growth.
    pub by_growth: usize,
    /// Rounds that a chosen site stays when it is out of twice these ranks. It stays for good within them.
    pub rounds_out_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { by_value: 20, by_growth: 10, rounds_out_max: 6 }
    }
}

impl Limits {
    /// Most sites that are ever chosen at once.
    pub const fn chosen_max(&self) -> usize {
        2 * (self.by_value + self.by_growth)
    }
}

/// Most sites whose past is remembered; beyond that those with the smallest values have none.
pub const REMEMBERED_MAX: usize = 4096;

/// The part of a value that the slow average, against which growth is measured, takes over each round.
const AVERAGE_PART: f64 = 1.0 / 8.0;

/// What is remembered of a site.
#[derive(Debug, Clone, Copy)]
struct Past {
    /// Slow moving average of its value.
    average: f64,
    /// Its last value.
    last: f64,
    /// Rounds for which it has been out of the ranks that keep it; nothing when it is not chosen.
    chosen: Option<u32>,
}

/// Chooses sites by value and by growth, round after round.
#[derive(Debug)]
pub struct TopSites<K> {
    limits: Limits,
    past: HashMap<K, Past>,
    /// Sum of the last values of sites that were too small to be remembered.
    forgotten: f64,
    rounds: u64,
}

impl<K: Ord + Hash + Eq + Clone> TopSites<K> {
    /// Nothing is known yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, past: HashMap::new(), forgotten: 0.0, rounds: 0 }
    }

    /// Takes the values of this round and tells which sites are chosen, at most [`Limits::chosen_max`].
    pub fn choose(&mut self, values: &BTreeMap<K, f64>) -> HashSet<K> {
        let unknown_grew = self.unknown_grew();
        let grown = |site: &K, value: f64| match self.past.get(site) {
            Some(past) => value - past.average,
            None if unknown_grew => value,
            None => 0.0,
        };
        let by_value = ranked(values.iter().filter(|(_, value)| **value > 0.0).map(|(site, value)| (site, *value)));
        let growth = values.iter().map(|(site, value)| (site, grown(site, *value)));
        let by_growth = ranked(growth.filter(|(_, growth)| *growth > 0.0));
        let rank_in = |ranks: &HashMap<&K, usize>, site: &K| ranks.get(site).copied().unwrap_or(usize::MAX);
        let mut now = Vec::new();
        for site in values.keys() {
            let (value_rank, growth_rank) = (rank_in(&by_value, site), rank_in(&by_growth, site));
            let inside =
                |times: usize| value_rank < times * self.limits.by_value || growth_rank < times * self.limits.by_growth;
            let before = self.past.get(site).and_then(|past| past.chosen);
            let chosen = match before {
                _ if inside(1) => Some(0),
                Some(_) if inside(2) => Some(0),
                Some(out) if out < self.limits.rounds_out_max => Some(out + 1),
                _ => None,
            };
            // Those inside come first, then those that have been out for the shortest time.
            let standing = (!inside(1), chosen.unwrap_or(u32::MAX), value_rank);
            now.push((standing, site, chosen));
        }
        now.sort();
        let most = self.limits.chosen_max();
        let chosen =
            now.into_iter().enumerate().map(|(at, (_, site, chosen))| (site.clone(), chosen.filter(|_| at < most)));
        let chosen: HashMap<K, Option<u32>> = chosen.collect();
        self.remember(values, &chosen);
        chosen.into_iter().filter_map(|(site, chosen)| chosen.map(|_| site)).collect()
    }

    /// The last value of `site` before this round's [`choose`](Self::choose), where it is remembered.
    fn last(&self, site: &K) -> Option<f64> {
        self.past.get(site).map(|past| past.last)
    }

    /// Whether a site without a past has grown from nothing. What was there from the start has not, and of one that was
    /// too small to be remembered it cannot be told.
    fn unknown_grew(&self) -> bool {
        self.rounds > 0 && self.forgotten == 0.0
    }

    fn remember(&mut self, values: &BTreeMap<K, f64>, chosen: &HashMap<K, Option<u32>>) {
        let mut kept: Vec<(&K, f64)> = values.iter().map(|(site, value)| (site, *value)).collect();
        let unknown_grew = self.unknown_grew();
        self.rounds += 1;
        self.forgotten = 0.0;
        if kept.len() > REMEMBERED_MAX {
            kept.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
            self.forgotten = kept.drain(REMEMBERED_MAX..).map(|(_, value)| value).sum();
        }
        let mut past = HashMap::with_capacity(kept.len());
        for (site, value) in kept {
            let average = match self.past.get(site) {
                Some(before) => before.average + (value - before.average) * AVERAGE_PART,
                None if unknown_grew => value * AVERAGE_PART,
                None => value,
            };
            let chosen = chosen.get(site).copied().flatten();
            past.insert(site.clone(), Past { average, last: value, chosen });
        }
        self.past = past;
    }
}

/// The rank of each site by descending value, from 0; equal values by the order of sites.
fn ranked<'a, K: Ord + Hash>(values: impl Iterator<Item = (&'a K, f64)>) -> HashMap<&'a K, usize> {
    let mut sorted: Vec<(&K, f64)> = values.collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    sorted.into_iter().enumerate().map(|(rank, (site, _))| (site, rank)).collect()
}

/// The series of one metric of one process: chosen sites and the remainder.
///
/// The remainder of a counter is counted by itself, from what its sites gain: it does not fall when one of them gets a
/// series of its own, which would look like a restart. For the same reason no start goes with its samples: a site that is
/// chosen late did not gain all of its value since then.
#[derive(Debug)]
pub struct SiteSeries<K> {
    metric: Metric,
    top: TopSites<K>,
    other: f64,
}

impl<K: Ord + Hash + Eq + Clone> SiteSeries<K> {
    /// The series of `metric`, which is a gauge or a counter.
    pub fn new(metric: Metric, limits: Limits) -> Self {
        Self { metric, top: TopSites::new(limits), other: 0.0 }
    }

    /// Writes `values` to `out`: each chosen site with the labels that `labels_of` gives it, and the remainder.
    pub fn write<const N: usize>(
        &mut self,
        values: &BTreeMap<K, f64>,
        labels_of: impl Fn(&K) -> [(&'static str, &str); N],
        out: &mut Readings,
    ) {
        let Metric { name, kind, help } = self.metric;
        let gauge = kind == MetricKind::Gauge;
        out.describe(name, || MetricMetadata { kind, unit: String::new(), help: help.to_owned() });
        // Of the round before, since choosing replaces it.
        let before: Vec<Option<f64>> = values.keys().map(|site| self.top.last(site)).collect();
        let forgotten_before = self.top.forgotten;
        let chosen = self.top.choose(values);
        let (mut hidden, mut gained, mut unknown) = (0.0, 0.0, 0.0);
        for ((site, &value), before) in values.iter().zip(before) {
            if chosen.contains(site) {
                out.push_named(name, &labels_of(site), value);
                continue;
            }
            hidden += value;
            match before {
                Some(before) => gained += (value - before).max(0.0),
                None => unknown += value,
            }
        }
        // Sites without a past are new, or were too small to be remembered: these are known by their sum.
        gained += (unknown - forgotten_before).max(0.0);
        self.other = if gauge { hidden } else { self.other + gained };
        out.push_named(name, &[("site", OTHER)], self.other);
    }
}

impl SiteSeries<Site> {
    /// Goroutines by site.
    pub fn goroutines(limits: Limits) -> Self {
        Self::new(GOROUTINES, limits)
    }

    /// Writes the sites of `census`.
    pub fn write_census(&mut self, census: &Census, out: &mut Readings) {
        let values = census.sites.iter().map(|(site, told)| (site.clone(), float(told.count))).collect();
        self.write(
            &values,
            |site| [("site", &site.function), ("created_by", &site.created_by), ("wait", &site.wait)],
            out,
        );
    }
}

impl SiteSeries<String> {
    /// Writes `values`, numbers by function.
    pub fn write_functions(&mut self, values: &BTreeMap<String, f64>, out: &mut Readings) {
        self.write(values, |function| [("site", function)], out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_of_stacks() {
        let lock =
            ["runtime.semrelease1", "internal/sync.(*Mutex).Unlock", "sync.(*Mutex).Unlock", "main.f", "main.main"];
        assert_eq!(contention_site(lock.into_iter()), Some("main.f"));
        assert_eq!(allocation_site(lock.into_iter()), Some("internal/sync.(*Mutex).Unlock"));
        let all_runtime = ["runtime.malg", "internal/runtime/maps.(*Map).grow"];
        assert_eq!(contention_site(all_runtime.into_iter()), Some("runtime.malg"), "better than nothing");
        assert_eq!(contention_site(["sync.(*Pool).pin", "runtime.main"].into_iter()), Some("sync.(*Pool).pin"));
        assert_eq!(allocation_site([].into_iter()), None);
    }

    fn limits() -> Limits {
        Limits { by_value: 2, by_growth: 1, rounds_out_max: 2 }
    }

    fn values(all: &[(&str, f64)]) -> BTreeMap<String, f64> {
        all.iter().map(|(site, value)| ((*site).to_owned(), *value)).collect()
    }

    fn choose(top: &mut TopSites<String>, all: &[(&str, f64)]) -> Vec<String> {
        let mut chosen: Vec<String> = top.choose(&values(all)).into_iter().collect();
        chosen.sort();
        chosen
    }

    #[test]
    fn the_largest_and_those_that_grow() {
        let mut top = TopSites::new(limits());
        assert_eq!(choose(&mut top, &[("a", 9.0), ("b", 8.0), ("c", 7.0), ("d", 1.0)]), ["a", "b"]);
        assert_eq!(choose(&mut top, &[("a", 9.0), ("b", 8.0), ("c", 7.0), ("d", 3.0)]), ["a", "b", "d"]);
        assert_eq!(choose(&mut TopSites::new(limits()), &[]), [""; 0]);
        assert_eq!(choose(&mut TopSites::new(limits()), &[("a", 0.0), ("b", -1.0)]), [""; 0], "nothing is no site");
        let mut late = TopSites::new(limits());
        choose(&mut late, &[("a", 9.0), ("b", 8.0)]);
        assert_eq!(choose(&mut late, &[("a", 9.0), ("b", 8.0), ("c", 1.0)]), ["a", "b", "c"], "from nothing");
    }

    #[test]
    fn neighbours_in_rank_do_not_change_places() {
        let mut top = TopSites::new(Limits { by_growth: 0, ..limits() });
        choose(&mut top, &[("a", 9.0), ("b", 8.0), ("c", 7.0)]);
        for round in 0..20 {
            let swapped = if round % 2 == 0 { ("b", 7.0) } else { ("b", 9.0) };
            let chosen = choose(&mut top, &[("a", 9.0), swapped, ("c", 8.0)]);
            assert!(chosen.contains(&"b".to_owned()), "round {round}");
        }
    }

    #[test]
    fn one_that_stays_small_leaves_after_some_rounds() {
        let mut top = TopSites::new(Limits { by_growth: 0, ..limits() });
        choose(&mut top, &[("z", 9.0), ("b", 8.0)]);
        let small = [("a", 9.0), ("b", 8.0), ("c", 7.0), ("d", 6.0), ("z", 1.0)];
        let stays: Vec<bool> = (0..4).map(|_| choose(&mut top, &small).contains(&"z".to_owned())).collect();
        assert_eq!(stays, [true, true, false, false]);
    }

    #[test]
    fn never_more_than_the_limit_and_the_same_for_the_same() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut one, mut two) = (TopSites::new(limits()), TopSites::new(limits()));
        for _ in 0..200 {
            let round: BTreeMap<u32, f64> = (0..50).map(|site| (site, f64::from(random.u32(..100)))).collect();
            let chosen = one.choose(&round);
            assert_eq!(chosen, two.choose(&round));
            assert!(chosen.len() <= limits().chosen_max());
            let mut sizes: Vec<f64> = round.values().copied().collect();
            sizes.sort_by(f64::total_cmp);
            let at_least = sizes[sizes.len() - limits().by_value];
            let left_out = round.iter().filter(|(site, value)| **value > at_least && !chosen.contains(site));
            assert_eq!(left_out.count(), 0, "the largest are always there");
        }
    }

    fn written(series: &mut SiteSeries<String>, all: &[(&str, f64)], site: &str) -> Option<f64> {
        let mut out = Readings::new(1);
        series.write_functions(&values(all), &mut out);
        out.value_of(&format!("{}{{site=\"{site}\"}}", series.metric.name))
    }

    #[test]
    fn the_remainder_of_a_gauge_is_what_is_not_shown() {
        let mut series = SiteSeries::new(HEAP_INUSE, limits());
        assert_eq!(written(&mut series, &[("a", 9.0), ("b", 8.0), ("c", 7.0), ("d", 1.0)], OTHER), Some(8.0));
        assert_eq!(written(&mut series, &[("a", 9.0)], OTHER), Some(0.0));
    }

    #[test]
    fn the_remainder_of_a_counter_never_falls() {
        let mut series = SiteSeries::new(HEAP_ALLOCS, limits());
        let start = [("a", 9.0), ("b", 8.0), ("c", 4.0), ("d", 1.0)];
        assert_eq!(written(&mut series, &start, OTHER), Some(5.0));
        let grown = [("a", 9.0), ("b", 8.0), ("c", 5.0), ("d", 100.0)];
        assert_eq!(written(&mut series, &grown, OTHER), Some(6.0), "d has its own series now");
        assert_eq!(written(&mut series, &grown, "d"), Some(100.0));
        assert_eq!(written(&mut series, &grown, OTHER), Some(6.0));
    }

    #[test]
    fn sites_that_are_not_remembered_are_counted_once() {
        let mut series = SiteSeries::new(HEAP_ALLOCS, limits());
        let mut all: BTreeMap<String, f64> =
            (0..REMEMBERED_MAX + 1000).map(|site| (format!("s{site:05}"), 10.0)).collect();
        let mut written = |all: &BTreeMap<String, f64>| {
            let mut out = Readings::new(1);
            series.write_functions(all, &mut out);
            out.iter().map(|(_, samples)| samples.value().unwrap_or(f64::NAN)).sum::<f64>()
        };
        let want: f64 = all.values().sum();
        assert!((written(&all) - want).abs() < 1e-6);
        assert!((written(&all) - want).abs() < 1e-6, "nothing grew");
        for value in all.values_mut() {
            *value += 1.0;
        }
        assert!((written(&all) - all.values().sum::<f64>()).abs() < 1e-6, "each grew by one");
    }
}
