//! What the labels of series are: which metrics, agents and labels make them so many, and which of them are new.
//!
//! Everything is counted exactly from the index: the series of a label pair within a selection, within those that are active,
//! and within those created lately, which are those from an id on ([`churn`](super::churn)). Only what would be left
//! without a label is estimated where it is much ([`distinct`]), and only for selections of up to [`WITHOUT_SERIES_MAX`] series.
//!
//! The cost follows the number of label values that there are, and the memory what is told; the index
//! is let go of between two labels, so that appends wait for one at most.

mod distinct;
mod top;

use std::collections::BTreeMap;

use model::{METRIC_NAME, Matcher, TimeRange};
use roaring::RoaringBitmap;

use super::series_limits::agent::{INSTANCE, agent_of_instance};
use super::{Core, Engine, LimitUse, StorageError};
use crate::damage::Damage;
use distinct::Distinct;
use top::Top;

/// The label that Prometheus and our agent name programs by.
const JOB: &str = "job";
/// Most series of a selection that is looked at series by series.
const WITHOUT_SERIES_MAX: u64 = 200_000;
/// Most labels that this is done for.
const WITHOUT_LABELS_MAX: usize = 16;
/// So long after a flush the series of its blocks count as active: most senders have sent again by then.
const SETTLED_AFTER_MS: i64 = 600_000;

/// What to tell of which series.
#[derive(Debug, Clone)]
pub struct CardinalityRequest {
    /// Series that any of these select; all, where there is none.
    pub selectors: Vec<Vec<Matcher>>,
    /// How far back series count as new, in milliseconds.
    pub window_ms: i64,
    /// Most rows of each list.
    pub top: usize,
}

/// What the labels of the selected series are. Lists are ordered by number, largest first, then by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CardinalityReport {
    /// When this was found out, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// From when on series count as new: as far back as asked for and known, at the beginning of a minute or an hour.
    pub since_ms: i64,
    /// From when on it is known which series are new.
    pub known_from_ms: Option<i64>,
    /// Series that exist, selected or not.
    pub all_series: u64,
    /// Series created since, selected or not, those that are gone again included.
    pub all_created: u64,
    /// Series removed since, selected or not.
    pub all_removed: u64,
    /// Limits, and how near they are.
    pub limits: Vec<LimitUse>,
    /// The selected series.
    pub selected: SeriesGroup,
    /// By metric, by number of series.
    pub metrics: Vec<SeriesGroup>,
    /// By agent: the host that `instance` names.
    pub agents: Vec<SeriesGroup>,
    /// By the label `job`.
    pub jobs: Vec<SeriesGroup>,
    /// By the label `instance`.
    pub instances: Vec<SeriesGroup>,
    /// By metric, by number of new series; metrics without new series are left out.
    pub new_metrics: Vec<SeriesGroup>,
    /// By agent, by number of new series.
    pub new_agents: Vec<SeriesGroup>,
    /// Labels other than the metric name, by number of values.
    pub labels: Vec<LabelUse>,
    /// Pairs of these labels with a value, by number of series.
    pub pairs: Vec<PairUse>,
}

/// Series that have something in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesGroup {
    /// What they have in common: a metric, an agent, the value of a label. Empty for all.
    pub name: String,
    /// How many there are.
    pub series: u64,
    /// How many of them have samples that are in no block yet, or were written into blocks just now.
    pub active: u64,
    /// How many of them were created in the window.
    pub created: u64,
}

/// A label of the selected series.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelUse {
    /// Its name.
    pub name: String,
    /// How many values it has.
    pub values: u64,
    /// Series that have it.
    pub series: u64,
    /// Bytes of all values' text, each counted once.
    pub value_bytes: u64,
    /// How many series there would be without the label, beyond 2,048 about; not told of labels with one value, of labels
    /// that are not among those with the most values, and of large selections.
    pub without: Option<u64>,
}

/// A label with a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairUse {
    /// Name of the label.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Series that carry it.
    pub series: u64,
}

/// The series that are counted: all that are selected, the active and the new ones of them.
#[derive(Debug)]
struct Sets {
    selected: RoaringBitmap,
    active: RoaringBitmap,
    created: RoaringBitmap,
}

impl Sets {
    fn each(&self) -> [&RoaringBitmap; 3] {
        [&self.selected, &self.active, &self.created]
    }
}

impl Engine {
    /// What makes the selected series so many.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn cardinality_report(&self, request: &CardinalityRequest) -> Result<CardinalityReport, StorageError> {
        Ok(self.core.cardinality_report(request)?)
    }
}

impl Core {
    fn cardinality_report(&self, request: &CardinalityRequest) -> Result<CardinalityReport, Damage> {
        let top = request.top;
        let now_ms = self.clock.now().0;
        let churn = self.churn.lock();
        let before = churn.before(now_ms.saturating_sub(request.window_ms));
        let known_from_ms = churn.known_from_ms();
        drop(churn);
        let all = self.series.all();
        let all_series = all.len();
        let selected = match request.selectors.as_slice() {
            [] => all,
            selectors => {
                let mut ids = RoaringBitmap::new();
                for matchers in selectors {
                    ids |= self.series.select(matchers)?;
                }
                ids
            }
        };
        let active = self.active(&selected, now_ms);
        let mut created = selected.clone();
        created.remove_range(..before.next_series);
        let sets = Sets { selected, active, created };
        let (metrics, new_metrics) = self.groups_of(METRIC_NAME, &sets, top)?;
        let (agents, new_agents) = self.agents(&sets, top)?;
        let (labels, pairs) = self.labels_among(&sets.selected, top)?;
        Ok(CardinalityReport {
            now_ms,
            since_ms: before.at_ms,
            known_from_ms,
            all_series,
            all_created: before.created_since,
            all_removed: before.removed_since,
            limits: self.series_limits.uses(),
            selected: group(String::new(), sets.each().map(RoaringBitmap::len)),
            metrics,
            agents,
            jobs: self.groups_of(JOB, &sets, top)?.0,
            instances: self.groups_of(INSTANCE, &sets, top)?.0,
            new_metrics,
            new_agents,
            labels,
            pairs,
        })
    }

    /// Those of `ids` that are written to.
    fn active(&self, ids: &RoaringBitmap, now_ms: i64) -> RoaringBitmap {
        let mut active = self.head.overlapping(ids, TimeRange::ALL);
        let flushed_ms = self.counters.flushed_ms.load(std::sync::atomic::Ordering::Relaxed);
        if now_ms.abs_diff(flushed_ms) < SETTLED_AFTER_MS.unsigned_abs() {
            let view = self.view();
            let last = view.raw().map(|block| block.record.last_sequence).max();
            for block in view.raw().filter(|block| block.record.level == 0 && Some(block.record.last_sequence) == last)
            {
                active |= block.ids() & ids;
            }
        }
        active
    }

    /// The values of label `name`: those with the most series, and those with the most new series.
    fn groups_of(&self, name: &str, sets: &Sets, top: usize) -> Result<(Vec<SeriesGroup>, Vec<SeriesGroup>), Damage> {
        let (mut largest, mut newest) = (Top::new(top), Top::new(top));
        self.series.each_value(name, sets.each(), |value, counts| {
            push_group(&mut largest, &mut newest, value, counts);
        })?;
        Ok((rows_of(largest), rows_of(newest)))
    }

    fn agents(&self, sets: &Sets, top: usize) -> Result<(Vec<SeriesGroup>, Vec<SeriesGroup>), Damage> {
        let mut agents: BTreeMap<String, [u64; 3]> = BTreeMap::new();
        self.series.each_value(INSTANCE, sets.each(), |instance, counts| {
            let agent = agent_of_instance(instance).filter(|_| counts[0] > 0);
            let Some(agent) = agent else { return };
            if !agents.contains_key(agent) {
                agents.insert(agent.to_owned(), [0; 3]);
            }
            if let Some(known) = agents.get_mut(agent) {
                known.iter_mut().zip(counts).for_each(|(known, more)| *known += more);
            }
        })?;
        let (mut largest, mut newest) = (Top::new(top), Top::new(top));
        for (agent, counts) in &agents {
            push_group(&mut largest, &mut newest, agent, *counts);
        }
        Ok((rows_of(largest), rows_of(newest)))
    }

    fn labels_among(&self, ids: &RoaringBitmap, top: usize) -> Result<(Vec<LabelUse>, Vec<PairUse>), Damage> {
        let (mut labels, mut pairs) = (Top::new(top), Top::new(top));
        for name in self.series.names_among(ids)? {
            if name == METRIC_NAME {
                continue;
            }
            let mut of = LabelUse { name, ..LabelUse::default() };
            let name = of.name.clone();
            self.series.each_value(&name, [ids], |value, [series]| {
                if series > 0 {
                    of.values += 1;
                    of.series += series;
                    of.value_bytes += value.len() as u64;
                    pairs.push(series, || (name.clone(), value.to_owned()));
                }
            })?;
            labels.push(of.values, || of);
        }
        let mut labels: Vec<LabelUse> = labels.into_rows().into_iter().map(|(_, of)| of).collect();
        self.estimate_without(ids, &mut labels)?;
        let pair = |(series, (name, value))| PairUse { name, value, series };
        Ok((labels, pairs.into_rows().into_iter().map(pair).collect()))
    }

    /// Tells of each label how many of the series would differ without it.
    fn estimate_without(&self, ids: &RoaringBitmap, labels: &mut [LabelUse]) -> Result<(), Damage> {
        if ids.len() > WITHOUT_SERIES_MAX {
            return Ok(());
        }
        let names: Vec<String> =
            labels.iter().filter(|of| of.values > 1).take(WITHOUT_LABELS_MAX).map(|of| of.name.clone()).collect();
        let mut sketches: Vec<Distinct> = names.iter().map(|_| Distinct::default()).collect();
        let mut own = vec![0_u64; names.len()];
        let hasher = ahash::RandomState::new();
        self.series.each(ids, |_, labels| {
            // The sum of the hashes of all pairs stands for the set; less one of them, for the set without that pair.
            let mut all = 0_u64;
            own.fill(0);
            for (name, value) in labels {
                let hash = hasher.hash_one((name, value));
                all = all.wrapping_add(hash);
                if let Some(place) = names.iter().position(|known| known == name) {
                    own[place] = hash;
                }
            }
            for (sketch, own) in sketches.iter_mut().zip(&own) {
                sketch.add(all.wrapping_sub(*own));
            }
        })?;
        for (name, sketch) in names.iter().zip(&sketches) {
            if let Some(of) = labels.iter_mut().find(|of| of.name == *name) {
                of.without = Some(sketch.count().min(ids.len()));
            }
        }
        Ok(())
    }
}

type TopGroups = Top<(String, [u64; 3])>;

fn push_group(largest: &mut TopGroups, newest: &mut TopGroups, name: &str, counts: [u64; 3]) {
    let [series, _, created] = counts;
    largest.push(series, || (name.to_owned(), counts));
    newest.push(created, || (name.to_owned(), counts));
}

fn rows_of(top: TopGroups) -> Vec<SeriesGroup> {
    top.into_rows().into_iter().map(|(_, (name, counts))| group(name, counts)).collect()
}

fn group(name: String, [series, active, created]: [u64; 3]) -> SeriesGroup {
    SeriesGroup { name, series, active, created }
}
