//! Limits on how many series there are: of the server, of one metric, of one agent.
//!
//! The number of series of every metric and every agent is kept beside the index, so that a new series costs two looks
//! into a table, and a known one nothing. Only who holds the writer's lock changes the numbers, from the moment a series
//! is planned, so that the limits are exact however many append at once. The numbers are those of the index, and of series
//! in memory alone: they are found anew from it when a folder is opened, and go down when series leave memory.
//!
//! What is told of a refusal is [`refusals`]'; whose series counts for which agent is [`agent`]'s.

pub(super) mod agent;
mod refusals;

use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use model::{FullLimit, LabelsRef, LimitCause, METRIC_NAME, SeriesLimit};
use parking_lot::Mutex;

use super::EngineOptions;
use crate::index::SeriesIndex;
use agent::{INSTANCE, agent_of, agent_of_instance};
use refusals::Refusals;

/// Numbers of series by name.
type ByName = HashMap<Box<str>, u64, ahash::RandomState>;

/// How many series there may be, and how many there are.
#[derive(Debug)]
pub(super) struct SeriesLimits {
    /// In the order of [`SeriesLimit::ALL`].
    max: [u64; SeriesLimit::ALL.len()],
    counts: Mutex<Counts>,
    refusals: Refusals,
    /// Samples that were refused, by limit.
    refused: [AtomicU64; SeriesLimit::ALL.len()],
}

/// How many series there are. What has none has no entry.
#[derive(Debug, Default)]
struct Counts {
    series: u64,
    metrics: ByName,
    agents: ByName,
}

/// One limit and how near it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    /// Which limit.
    pub limit: SeriesLimit,
    /// How many series there may be; 0 is any number.
    pub max: u64,
    /// The metric or agent with the most series; empty for the server, and where there is none.
    pub of: String,
    /// How many series it has.
    pub series: u64,
    /// Metrics or agents that have as many as they may.
    pub full: u64,
    /// Samples that the limit refused since the engine was opened.
    pub samples_refused: u64,
}

impl SeriesLimits {
    pub(super) fn new(options: &EngineOptions) -> Self {
        // A server that may have no series keeps nothing, where no limit means any number.
        let max = [options.series_max, options.series_per_metric_max, options.series_per_agent_max];
        Self {
            max: max.map(|max| max as u64),
            counts: Mutex::default(),
            refusals: Refusals::default(),
            refused: Default::default(),
        }
    }

    /// Counts the series that the index has in memory. Nobody puts one there or takes one out meanwhile.
    pub(super) fn recount(&self, index: &SeriesIndex) {
        let live = index.live();
        let mut counts = Counts { series: live.len(), ..Counts::default() };
        index.each_live_value(METRIC_NAME, [&live], |metric, [series]| add(&mut counts.metrics, metric, series));
        index.each_live_value(INSTANCE, [&live], |instance, [series]| {
            if let Some(agent) = agent_of_instance(instance) {
                add(&mut counts.agents, agent, series);
            }
        });
        *self.counts.lock() = counts;
    }

    /// Counts a series that is about to be created, or to come back into memory, unless a limit has no room for it: then that limit.
    pub(super) fn admit(&self, labels: LabelsRef<'_>) -> Result<(), SeriesLimit> {
        let counts = &mut *self.counts.lock();
        let names = [None, labels.get(METRIC_NAME), agent_of(labels)];
        for limit in SeriesLimit::ALL {
            let name = names[limit as usize];
            if (limit == SeriesLimit::Server || name.is_some()) && !self.has_room(limit, counts.of(limit, name)) {
                return Err(limit);
            }
        }
        counts.series += 1;
        for (name, by_name) in [(names[1], &mut counts.metrics), (names[2], &mut counts.agents)] {
            if let Some(name) = name {
                add(by_name, name, 1);
            }
        }
        Ok(())
    }

    /// Counts a series out that has left memory, or that was admitted and not created.
    pub(super) fn release(&self, labels: LabelsRef<'_>) {
        let counts = &mut *self.counts.lock();
        counts.series = counts.series.saturating_sub(1);
        for (name, by_name) in [(labels.get(METRIC_NAME), &mut counts.metrics), (agent_of(labels), &mut counts.agents)]
        {
            let Some(name) = name else { continue };
            if let Some(series) = by_name.get_mut(name) {
                *series -= 1;
                if *series == 0 {
                    by_name.remove(name);
                }
            }
        }
    }

    fn has_room(&self, limit: SeriesLimit, series: u64) -> bool {
        let max = self.max[limit as usize];
        series < max || (max == 0 && limit != SeriesLimit::Server)
    }

    /// The limit that had no room for `labels`, without its cause.
    pub(super) fn full(&self, limit: SeriesLimit, labels: LabelsRef<'_>) -> FullLimit {
        let of = name_of(limit, labels);
        let series = self.counts.lock().of(limit, of);
        let of = of.unwrap_or_default().to_owned();
        FullLimit { limit, of, series, max: self.max[limit as usize], cause: LimitCause::default() }
    }

    /// Remembers that `samples` of a series were refused.
    pub(super) fn note_refused(&self, limit: SeriesLimit, labels: LabelsRef<'_>, samples: u64) {
        self.refused[limit as usize].fetch_add(samples, Ordering::Relaxed);
        self.refusals.note(limit, name_of(limit, labels).unwrap_or_default(), samples);
    }

    /// The metrics with the most series, and how many.
    fn largest_metric(&self) -> Option<(String, u64)> {
        largest(&self.counts.lock().metrics).map(|(name, series)| (name.to_owned(), series))
    }

    /// Each limit and how near it is, in the order of [`SeriesLimit::ALL`].
    pub(super) fn uses(&self) -> Vec<LimitUse> {
        let counts = self.counts.lock();
        let of = |limit: SeriesLimit| {
            let by_name = match limit {
                SeriesLimit::Server => None,
                SeriesLimit::Metric => Some(&counts.metrics),
                SeriesLimit::Agent => Some(&counts.agents),
            };
            let largest = match by_name {
                None => Some(("", counts.series)),
                Some(by_name) => largest(by_name),
            };
            let (of, series) = largest.unwrap_or_default();
            let is_full = |series: u64| !self.has_room(limit, series);
            let full = match by_name {
                None => u64::from(is_full(series)),
                Some(_) if !is_full(series) => 0,
                Some(by_name) => by_name.values().filter(|series| is_full(**series)).count() as u64,
            };
            LimitUse {
                limit,
                max: self.max[limit as usize],
                of: of.to_owned(),
                series,
                full,
                samples_refused: self.refused[limit as usize].load(Ordering::Relaxed),
            }
        };
        SeriesLimit::ALL.into_iter().map(of).collect()
    }
}

impl Counts {
    /// How many series the server has, or the metric or agent `name`.
    fn of(&self, limit: SeriesLimit, name: Option<&str>) -> u64 {
        let by_name = match limit {
            SeriesLimit::Server => return self.series,
            SeriesLimit::Metric => &self.metrics,
            SeriesLimit::Agent => &self.agents,
        };
        name.and_then(|name| by_name.get(name)).copied().unwrap_or(0)
    }
}

fn add(by_name: &mut ByName, name: &str, series: u64) {
    if let Some(known) = by_name.get_mut(name) {
        *known += series;
    } else {
        by_name.insert(name.into(), series);
    }
}

/// What `limit` counts the series for.
fn name_of(limit: SeriesLimit, labels: LabelsRef<'_>) -> Option<&str> {
    match limit {
        SeriesLimit::Server => None,
        SeriesLimit::Metric => labels.get(METRIC_NAME),
        SeriesLimit::Agent => agent_of(labels),
    }
}

/// The largest number; of equal ones that of the first name.
fn largest(by_name: &ByName) -> Option<(&str, u64)> {
    let larger = |a: &(&str, u64), b: &(&str, u64)| a.1.cmp(&b.1).then(b.0.cmp(a.0));
    by_name.iter().map(|(name, series)| (&**name, *series)).max_by(larger)
}
