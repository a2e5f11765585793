//! What is told of refused series: the metric or agent that is full, and the label that makes it so large.
//!
//! Samples of a series without a place come again with every scrape. So what is the matter is looked for once a minute for
//! each metric or agent, and a few times a minute at most for all; in between the answer is kept. Each look is also a line
//! of the log. Looking reads the index outside of the writer's lock.

use hashbrown::HashMap;
use model::{Appended, FullLimit, LimitCause, METRIC_NAME, Matcher, Rejection, SeriesLimit};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use super::agent::{INSTANCE, agent_of_instance};
use crate::damage::Damage;
use crate::engine::Core;

/// Metrics and agents that are remembered at a time.
const OFFENDERS_MAX: usize = 64;
/// How long an answer is kept.
const KEPT_MS: i64 = 60_000;
/// Most looks in that time. One takes some 50 ms of a processor where labels have a million values.
const LOOKS_MAX: usize = 10;

/// What is known of metrics and agents that are full.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// In the order of [`SeriesLimit::ALL`].
    offenders: [HashMap<Box<str>, Offender, ahash::RandomState>; SeriesLimit::ALL.len()],
    /// Since when looks are counted, and how many there were.
    looks: (i64, usize),
    /// Samples refused for whom there was no place here.
    others: u64,
}

#[derive(Debug, Default)]
struct Offender {
    cause: LimitCause,
    /// When the cause was looked for.
    looked_ms: Option<i64>,
    /// Samples refused since.
    samples: u64,
}

/// Whom to look at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Due {
    offenders: Vec<(SeriesLimit, String, u64)>,
    /// Samples refused for others than are remembered.
    others: u64,
}

impl Refusals {
    pub(super) fn note(&self, limit: SeriesLimit, of: &str, samples: u64) {
        let state = &mut *self.0.lock();
        let room = state.offenders.iter().map(HashMap::len).sum::<usize>() < OFFENDERS_MAX;
        let offenders = &mut state.offenders[limit as usize];
        match offenders.get_mut(of) {
            Some(offender) => offender.samples += samples,
            None if room => drop(offenders.insert(of.into(), Offender { samples, ..Offender::default() })),
            None => state.others += samples,
        }
    }

    /// Those whose cause is to be looked for now, each once in [`KEPT_MS`], with the samples refused meanwhile.
    fn due(&self, now_ms: i64) -> Due {
        let is_over = |since_ms: i64| now_ms.abs_diff(since_ms) >= KEPT_MS.unsigned_abs();
        let state = &mut *self.0.lock();
        let mut due = Due::default();
        if is_over(state.looks.0) {
            state.looks = (now_ms, 0);
            due.others = std::mem::take(&mut state.others);
        }
        for limit in SeriesLimit::ALL {
            let offenders = &mut state.offenders[limit as usize];
            // Whoever was left alone for so long is forgotten.
            offenders.retain(|_, of| of.samples > 0 || !of.looked_ms.is_some_and(is_over));
            for (name, of) in offenders.iter_mut().filter(|(_, of)| of.samples > 0 && of.looked_ms.is_none_or(is_over))
            {
                if state.looks.1 == LOOKS_MAX {
                    return due;
                }
                state.looks.1 += 1;
                of.looked_ms = Some(now_ms);
                due.offenders.push((limit, name.to_string(), std::mem::take(&mut of.samples)));
            }
        }
        due
    }

    fn found(&self, limit: SeriesLimit, of: &str, cause: LimitCause) {
        if let Some(offender) = self.0.lock().offenders[limit as usize].get_mut(of) {
            offender.cause = cause;
        }
    }

    /// What was found last.
    fn cause(&self, limit: SeriesLimit, of: &str) -> LimitCause {
        let state = self.0.lock();
        state.offenders[limit as usize].get(of).map(|offender| offender.cause.clone()).unwrap_or_default()
    }
}

impl Core {
    /// Adds to the rejections by a limit what makes it full, and logs it.
    pub(in crate::engine) fn tell_causes(&self, appended: &mut Appended) {
        if appended.samples_over_limit.iter().all(|samples| *samples == 0) {
            return;
        }
        let limits = &self.series_limits;
        let Due { offenders, others } = limits.refusals.due(self.clock.now().0);
        for (limit, of, samples) in offenders {
            let cause = self.cause(limit, &of);
            limits.refusals.found(limit, &of, cause.clone());
            let series = limits.counts.lock().of(limit, Some(&of));
            let full = FullLimit { limit, of, series, max: limits.max[limit as usize], cause };
            tracing::warn!(samples, "{full}; samples of new series are refused");
        }
        if others > 0 {
            tracing::warn!(samples = others, "samples of new series of many more metrics or agents were refused");
        }
        for rejection in &mut appended.rejections {
            if let Rejection::SeriesLimit { full, .. } = rejection {
                full.cause = limits.refusals.cause(full.limit, &full.of);
            }
        }
    }

    /// What makes the series of the server, a metric or an agent so many; nothing where the index cannot be read.
    fn cause(&self, limit: SeriesLimit, of: &str) -> LimitCause {
        self.look(limit, of).unwrap_or_else(|damage| {
            self.damage.add(damage);
            LimitCause::default()
        })
    }

    fn look(&self, limit: SeriesLimit, of: &str) -> Result<LimitCause, Damage> {
        Ok(match limit {
            SeriesLimit::Server => LimitCause { metric: self.series_limits.largest_metric(), label: None },
            SeriesLimit::Metric => {
                let ids = self.series.select(&[Matcher::equal(METRIC_NAME, of)])? & self.series.live();
                LimitCause { metric: None, label: self.largest_label(&ids, &[METRIC_NAME]) }
            }
            SeriesLimit::Agent => {
                let ids = self.series_of_agent(of)?;
                let metric = self.largest_metric_among(&ids);
                LimitCause { metric, label: self.largest_label(&ids, &[METRIC_NAME, INSTANCE]) }
            }
        })
    }

    fn series_of_agent(&self, agent: &str) -> Result<RoaringBitmap, Damage> {
        let mut instances = Vec::new();
        self.series.each_live_value(INSTANCE, [], |instance, []| {
            if agent_of_instance(instance) == Some(agent) {
                instances.push(instance.to_owned());
            }
        });
        let mut ids = RoaringBitmap::new();
        for instance in instances {
            ids |= self.series.select(&[Matcher::equal(INSTANCE, instance)])?;
        }
        Ok(ids & self.series.live())
    }

    fn largest_metric_among(&self, ids: &RoaringBitmap) -> Option<(String, u64)> {
        let mut largest: Option<(String, u64)> = None;
        self.series.each_live_value(METRIC_NAME, [ids], |metric, [series]| {
            if series > largest.as_ref().map_or(0, |(_, most)| *most) {
                largest = Some((metric.to_owned(), series));
            }
        });
        largest
    }

    /// The label other than `without` that has the most values among `ids`, if any has more than one.
    fn largest_label(&self, ids: &RoaringBitmap, without: &[&str]) -> Option<(String, u64)> {
        let mut names = self.series.live_name_sizes();
        names.retain(|(name, _)| !without.contains(&name.as_str()));
        names.sort_by_key(|(_, values)| std::cmp::Reverse(*values));
        let mut largest: Option<(String, u64)> = None;
        for (name, all) in names {
            let most = largest.as_ref().map_or(1, |(_, values)| *values);
            // Among these series a label has no more values than among all.
            if all <= most {
                break;
            }
            let mut values = 0;
            self.series.each_live_value(&name, [ids], |_, [series]| values += u64::from(series > 0));
            if values > most {
                largest = Some((name, values));
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(due: &Due) -> Vec<&str> {
        due.offenders.iter().map(|(_, of, _)| of.as_str()).collect()
    }

    #[test]
    fn each_is_looked_at_once_a_minute() {
        let refusals = Refusals::default();
        refusals.note(SeriesLimit::Metric, "m", 3);
        refusals.note(SeriesLimit::Metric, "m", 4);
        let due = refusals.due(KEPT_MS);
        assert_eq!(due.offenders, [(SeriesLimit::Metric, "m".to_owned(), 7)]);
        let cause = LimitCause { metric: None, label: Some(("path".to_owned(), 9)) };
        refusals.found(SeriesLimit::Metric, "m", cause.clone());
        refusals.note(SeriesLimit::Metric, "m", 1);
        refusals.note(SeriesLimit::Agent, "m", 1);
        assert_eq!(refusals.due(KEPT_MS * 2 - 1).offenders, [(SeriesLimit::Agent, "m".to_owned(), 1)]);
        assert_eq!(refusals.cause(SeriesLimit::Metric, "m"), cause);
        assert_eq!(refusals.due(KEPT_MS * 2).offenders, [(SeriesLimit::Metric, "m".to_owned(), 1)]);
        assert_eq!(refusals.due(KEPT_MS * 4), Due::default());
        assert_eq!(refusals.cause(SeriesLimit::Metric, "m"), LimitCause::default(), "long over");
    }

    #[test]
    fn neither_looks_nor_what_is_remembered_grow() {
        let refusals = Refusals::default();
        for at in 0..OFFENDERS_MAX * 2 {
            refusals.note(SeriesLimit::ALL[at % 3], &at.to_string(), 1);
        }
        let due = refusals.due(KEPT_MS);
        assert_eq!((due.offenders.len(), due.others), (LOOKS_MAX, OFFENDERS_MAX as u64));
        assert_eq!(refusals.due(KEPT_MS + 1), Due::default());
        let again = refusals.due(2 * KEPT_MS);
        assert_eq!((again.offenders.len(), again.others), (LOOKS_MAX, 0));
        assert!(names(&again).iter().all(|name| !names(&due).contains(name)), "others have their turn");
        // Those that were looked at make room for others.
        refusals.note(SeriesLimit::Server, "new", 1);
        assert_eq!(refusals.0.lock().others, 0);
    }
}
