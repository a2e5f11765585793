//! Samples that are older than their rule keeps samples one by one: refused, as any that are too old.
//!
//! So what is summarised stays as it is, and nothing that was acknowledged is forgotten before its time.

use model::Rejection;

use crate::engine::Core;
use crate::engine::prepare::Prepared;
use crate::ids::SeriesId;
use crate::log::payload::SampleColumns;

impl Core {
    /// Refuses what is too old by the rule of its series. Samples older than any rule keeps were refused before.
    pub(in crate::engine) fn reject_late(&self, prepared: &mut Prepared) {
        if self.lifetimes.is_plain() {
            return;
        }
        let starts: Vec<i64> =
            self.lifetimes.at(self.clock.now().0).into_iter().map(|life| life.raw_start_ms).collect();
        // Mostly all are younger than the strictest rule asks.
        let sure_ms = starts.iter().copied().max().unwrap_or(i64::MIN);
        self.reject_known(prepared, sure_ms, |id| {
            starts[self.lifetimes.of(id, || self.series.labels(id).ok().flatten())]
        });
        self.reject_unknown(prepared, &starts);
    }

    fn reject_known(&self, prepared: &mut Prepared, sure_ms: i64, start_of: impl Fn(SeriesId) -> i64) {
        let too_old = |id: SeriesId, timestamp_ms: i64, oldest_ms: i64| Rejection::TooOld {
            series: self.name_of(id),
            timestamp_ms,
            oldest_ms,
        };
        if prepared.columns.timestamps_ms.iter().any(|&at_ms| at_ms < sure_ms) {
            let all = std::mem::take(&mut prepared.columns);
            let mut kept = SampleColumns::default();
            for ((&id, &at_ms), &value) in all.ids.iter().zip(&all.timestamps_ms).zip(&all.values) {
                let id = SeriesId(id);
                let oldest_ms = if at_ms < sure_ms { start_of(id) } else { i64::MIN };
                if at_ms < oldest_ms {
                    prepared.reject(false, || too_old(id, at_ms, oldest_ms));
                } else {
                    kept.push(id, at_ms, value);
                }
            }
            prepared.columns = kept;
        }
        if prepared.extras.full.iter().all(|row| row.timestamp_ms >= sure_ms) {
            return;
        }
        for row in std::mem::take(&mut prepared.extras.full) {
            let oldest_ms = start_of(row.id);
            if row.timestamp_ms < oldest_ms {
                let is_histogram = row.is_histogram();
                prepared.extras.histograms -= u64::from(is_histogram);
                prepared.reject(is_histogram, || too_old(row.id, row.timestamp_ms, oldest_ms));
            } else {
                prepared.extras.full.push(row);
            }
        }
    }

    fn reject_unknown(&self, prepared: &mut Prepared, starts: &[i64]) {
        let mut unknown = std::mem::take(&mut prepared.unknown);
        unknown.retain_mut(|(labels, samples)| {
            let oldest_ms = starts[self.lifetimes.of_labels(labels)];
            samples.retain(|sample| {
                let timestamp_ms = sample.timestamp.0;
                if timestamp_ms < oldest_ms {
                    let too_old = || Rejection::TooOld { series: labels.to_string(), timestamp_ms, oldest_ms };
                    prepared.reject(false, too_old);
                }
                timestamp_ms >= oldest_ms
            });
            !samples.is_empty()
        });
        prepared.unknown = unknown;
        let mut unknown = std::mem::take(&mut prepared.unknown_extras.full);
        unknown.retain_mut(|(labels, samples)| {
            let oldest_ms = starts[self.lifetimes.of_labels(labels)];
            samples.retain(|sample| {
                let timestamp_ms = sample.timestamp_ms;
                if timestamp_ms < oldest_ms {
                    let too_old = || Rejection::TooOld { series: labels.to_string(), timestamp_ms, oldest_ms };
                    prepared.reject(sample.is_histogram, too_old);
                }
                timestamp_ms >= oldest_ms
            });
            !samples.is_empty()
        });
        prepared.unknown_extras.full = unknown;
    }
}
