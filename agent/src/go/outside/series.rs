//! The series that are made of what was read: names, help texts, labels.

use std::sync::LazyLock;

use model::{MetricKind, MetricMetadata};

use super::counters::Counters;
use super::names::Names as CodeNames;
use super::profile::{Amount, Profile, ProfileKind};
use super::time_histogram::Bounds;
use crate::collect::float;
use crate::go::census::{Census, Site, States};
use crate::go::sites::{self as site_metrics, Limits, SiteSeries};
use crate::go::ways::{Names, Part, Taken};
use crate::readings::{Metric, Readings};

const INFO: Metric = Metric::gauge("go_info", "The Go toolchain; always 1.");
const PAUSES: &str = "go_gc_duration_seconds";
const STATES: [Metric; 4] = [
    Metric::gauge("go_sched_goroutines_running_goroutines", "Goroutines that run."),
    Metric::gauge("go_sched_goroutines_runnable_goroutines", "Goroutines that are ready to run."),
    Metric::gauge("go_sched_goroutines_waiting_goroutines", "Goroutines that wait."),
    Metric::gauge("go_sched_goroutines_not_in_go_goroutines", "Goroutines in system calls or in C."),
];

/// Adds the numbers and histograms of the runtime but for those in `taken`; returns their names.
pub fn runtime(
    counters: &Counters<'_>,
    bounds: Option<&Bounds>,
    go_version: &str,
    taken: &Taken,
    out: &mut Readings,
) -> Vec<&'static str> {
    let mut names = vec![INFO.name];
    out.push(&INFO, &[("version", go_version)], 1.0);
    for (metric, value) in counters.numbers().filter(|(metric, _)| !taken.contains(metric.name)) {
        out.push(metric, &[], value);
        names.push(metric.name);
    }
    if let Some((quantiles, sum, count)) = counters.pauses().filter(|_| !taken.contains(PAUSES)) {
        out.describe(PAUSES, || MetricMetadata {
            kind: MetricKind::Summary,
            unit: String::new(),
            help: "Time the world was stopped for the collector, of the last 256 pauses.".to_owned(),
        });
        for (quantile, value) in ["0", "0.25", "0.5", "0.75", "1"].into_iter().zip(quantiles) {
            out.push_named(PAUSES, &[("quantile", quantile)], value);
        }
        out.push_named("go_gc_duration_seconds_sum", &[], sum);
        out.push_named("go_gc_duration_seconds_count", &[], count);
        names.push(PAUSES);
    }
    for (metric, histogram) in counters.histograms(bounds).into_iter().filter(|(of, _)| !taken.contains(of.name)) {
        out.push_histogram(metric, &[], histogram);
        names.push(metric.name);
    }
    names
}

/// Names of the series that are given with `part`, those of numbers of the runtime apart.
pub fn part_names(part: Part) -> &'static Names {
    static NAMES: LazyLock<[Names; 5]> = LazyLock::new(|| {
        Part::ALL.map(|part| {
            let own: &[&str] = match part {
                Part::Runtime => &[],
                Part::Goroutines => &[site_metrics::GOROUTINES.name],
                Part::HeapProfile => &[site_metrics::HEAP_INUSE.name, site_metrics::HEAP_ALLOCS.name],
                Part::MutexProfile => &[site_metrics::MUTEX_WAIT.name],
                Part::BlockProfile => &[site_metrics::BLOCK_WAIT.name],
            };
            let states = STATES.iter().map(|metric| metric.name).filter(|_| part == Part::Goroutines);
            own.iter().copied().chain(states).collect()
        })
    });
    let at = Part::ALL.iter().position(|own| *own == part);
    at.and_then(|at| NAMES.get(at)).unwrap_or(&NAMES[0])
}

/// Adds goroutines by state.
pub fn states(states: States, out: &mut Readings) {
    let counts = [states.running, states.runnable, states.waiting, states.not_in_go];
    for (metric, count) in STATES.iter().zip(counts) {
        out.push(metric, &[], float(count));
    }
}

/// The series by site of one process.
#[derive(Debug)]
pub struct SiteTables {
    goroutines: SiteSeries<Site>,
    in_use: SiteSeries<String>,
    allocs: SiteSeries<String>,
    mutex: SiteSeries<String>,
    block: SiteSeries<String>,
}

impl SiteTables {
    /// Tables of `most` sites chosen by size and half as many by growth.
    pub fn new(most: usize) -> Self {
        let limits = Limits { by_value: most, by_growth: most / 2, ..Limits::default() };
        let table = |metric| SiteSeries::new(metric, limits);
        Self {
            goroutines: SiteSeries::goroutines(limits),
            in_use: table(site_metrics::HEAP_INUSE),
            allocs: table(site_metrics::HEAP_ALLOCS),
            mutex: table(site_metrics::MUTEX_WAIT),
            block: table(site_metrics::BLOCK_WAIT),
        }
    }

    /// Adds goroutines by site.
    pub fn write_census(&mut self, census: &Census, out: &mut Readings) {
        self.goroutines.write_census(census, out);
    }

    /// Adds what `profile` has by site. Waiting is told when it is known how many `ticks_per_second` there are.
    pub fn write_profile(
        &mut self,
        profile: &Profile,
        ticks_per_second: Option<f64>,
        names: &mut CodeNames<'_>,
        out: &mut Readings,
    ) {
        let table = match profile.kind {
            ProfileKind::Heap => {
                self.in_use.write_functions(&profile.by_site(names, |stack| profile.in_use_bytes(stack)), out);
                self.allocs.write_functions(&profile.by_site(names, |stack| profile.allocated_bytes(stack)), out);
                return;
            }
            ProfileKind::Mutex => &mut self.mutex,
            ProfileKind::Block => &mut self.block,
        };
        let Some(per_second) = ticks_per_second else { return };
        let values = profile.by_site(names, |stack| match stack.amount {
            Amount::Wait { ticks, .. } => float(ticks.max(0).cast_unsigned()) / per_second,
            Amount::Heap { .. } => 0.0,
        });
        table.write_functions(&values, out);
    }
}
