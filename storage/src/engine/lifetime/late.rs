//! Samples that are older than their rule keeps samples one by one: refused, as any that are too old. And how samples of a
//! batch are refused for what they are late for, by series and time.
//!
//! So what is summarised stays as it is, and nothing that was acknowledged is forgotten before its time.

use model::{Labels, Rejection};

use crate::engine::Core;
use crate::engine::prepare::Prepared;
use crate::ids::SeriesId;
use crate::log::payload::SampleColumns;

/// Why a sample comes too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Samples of its series are kept from here on.
    TooOld { oldest_ms: i64 },
    /// Its window, of this length, is told by a summary that it cannot be added to.
    Summarised { window_ms: i64 },
}

impl Cause {
    fn of(self, series: String, timestamp_ms: i64) -> Rejection {
        match self {
            Self::TooOld { oldest_ms } => Rejection::TooOld { series, timestamp_ms, oldest_ms },
            Self::Summarised { window_ms } => Rejection::Summarised { series, timestamp_ms, window_ms },
        }
    }
}

impl Core {
    /// Refuses what is too old by the rule of its series, or could not be shown. Samples older than any rule keeps were refused
    /// before.
    pub(in crate::engine) fn reject_late(&self, prepared: &mut Prepared) {
        if !self.lifetimes.is_plain() {
            let starts: Vec<i64> =
                self.lifetimes.at(self.clock.now().0).into_iter().map(|life| life.raw_start_ms).collect();
            // Mostly all are younger than the strictest rule asks.
            let sure_ms = starts.iter().copied().max().unwrap_or(i64::MIN);
            self.refuse(
                prepared,
                sure_ms,
                |id| starts[self.lifetimes.of(id, || self.series.labels(id).ok().flatten())],
                |labels| starts[self.lifetimes.of_labels(labels)],
                |&oldest_ms, at_ms| (at_ms < oldest_ms).then_some(Cause::TooOld { oldest_ms }),
            );
        }
        self.reject_untold(prepared);
    }

    /// Refuses those samples before `sure_ms` that have a cause, by what of their series tells.
    pub(super) fn refuse<K>(
        &self,
        prepared: &mut Prepared,
        sure_ms: i64,
        of_known: impl Fn(SeriesId) -> K,
        of_unknown: impl Fn(&Labels) -> K,
        cause: impl Fn(&K, i64) -> Option<Cause>,
    ) {
        let is_refused = |id: SeriesId, at_ms: i64| if at_ms < sure_ms { cause(&of_known(id), at_ms) } else { None };
        if prepared.columns.timestamps_ms.iter().any(|&at_ms| at_ms < sure_ms) {
            let all = std::mem::take(&mut prepared.columns);
            let mut kept = SampleColumns::default();
            for ((&id, &at_ms), &value) in all.ids.iter().zip(&all.timestamps_ms).zip(&all.values) {
                let id = SeriesId(id);
                match is_refused(id, at_ms) {
                    Some(cause) => prepared.reject(false, || cause.of(self.name_of(id), at_ms)),
                    None => kept.push(id, at_ms, value),
                }
            }
            prepared.columns = kept;
        }
        if prepared.extras.full.iter().any(|row| row.timestamp_ms < sure_ms) {
            for row in std::mem::take(&mut prepared.extras.full) {
                match is_refused(row.id, row.timestamp_ms) {
                    Some(cause) => {
                        let is_histogram = row.is_histogram();
                        prepared.extras.histograms -= u64::from(is_histogram);
                        prepared.reject(is_histogram, || cause.of(self.name_of(row.id), row.timestamp_ms));
                    }
                    None => prepared.extras.full.push(row),
                }
            }
        }
        let mut unknown = std::mem::take(&mut prepared.unknown);
        unknown.retain_mut(|(labels, samples)| {
            if samples.iter().any(|sample| sample.timestamp.0 < sure_ms) {
                let key = of_unknown(labels);
                samples.retain(|sample| {
                    let found = cause(&key, sample.timestamp.0);
                    if let Some(found) = found {
                        prepared.reject(false, || found.of(labels.to_string(), sample.timestamp.0));
                    }
                    found.is_none()
                });
            }
            !samples.is_empty()
        });
        prepared.unknown = unknown;
        let mut unknown = std::mem::take(&mut prepared.unknown_extras.full);
        unknown.retain_mut(|(labels, samples)| {
            if samples.iter().any(|sample| sample.timestamp_ms < sure_ms) {
                let key = of_unknown(labels);
                samples.retain(|sample| {
                    let found = cause(&key, sample.timestamp_ms);
                    if let Some(found) = found {
                        prepared.reject(sample.is_histogram, || found.of(labels.to_string(), sample.timestamp_ms));
                    }
                    found.is_none()
                });
            }
            !samples.is_empty()
        });
        prepared.unknown_extras.full = unknown;
    }
}
