//! What a batch has besides plain floats, on its way into the log: histograms, floats with a start, exemplars.
//!
//! Rare today, so it goes beside the plain floats and costs a batch without it one look. Of one batch and timestamp it
//! counts more than a plain float, because it is applied after them, in the log as in the head.

use std::sync::Arc;

use model::{Exemplar, FullSample, Labels, Rejection, SampleValue, WriteBatch};

use super::exemplars::Verdict;
use super::prepare::{Prepared, Resolved, Window};
use super::{Core, RECORD_PAYLOAD_BYTES};
use crate::codec::full;
use crate::ids::SeriesId;
use crate::log::payload::{FullRow, push_exemplars, push_full_samples};

/// Most rows in one section of a record.
const SECTION_ROWS: usize = 1 << 12;

/// Histograms, floats with a start, and exemplars of known series.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) full: Vec<FullRow>,
    pub(super) exemplars: Vec<(SeriesId, Exemplar)>,
    /// How many of `full` are histograms.
    pub(super) histograms: u64,
}

/// The same of series that were unknown.
#[derive(Debug, Default)]
pub(super) struct UnknownExtras {
    pub(super) full: Vec<(Labels, Vec<Coded>)>,
    pub(super) exemplars: Vec<(Labels, Vec<Exemplar>)>,
}

/// A sample without its series.
#[derive(Debug)]
pub(super) struct Coded {
    pub(super) timestamp_ms: i64,
    bytes: Arc<[u8]>,
    pub(super) is_histogram: bool,
}

impl Extras {
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.exemplars.is_empty()
    }

    pub(super) fn push(&mut self, id: SeriesId, sample: Coded) {
        self.histograms += u64::from(sample.is_histogram);
        self.full.push(FullRow { id, timestamp_ms: sample.timestamp_ms, bytes: sample.bytes });
    }

    /// The samples as sections of a record.
    pub(super) fn push_full_sections(&self, sections: &mut Vec<Vec<u8>>) {
        for rows in cut(&self.full, SECTION_ROWS, |row| row.bytes.len()) {
            let mut section = Vec::new();
            push_full_samples(&mut section, rows);
            sections.push(section);
        }
    }

    /// The exemplars as sections of a record.
    pub(super) fn push_exemplar_sections(&self, sections: &mut Vec<Vec<u8>>) {
        for rows in cut(&self.exemplars, SECTION_ROWS, |(_, exemplar)| exemplar.labels.as_ref().packed().len()) {
            let mut section = Vec::new();
            push_exemplars(&mut section, rows);
            sections.push(section);
        }
    }
}

impl UnknownExtras {
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.exemplars.is_empty()
    }
}

impl Core {
    /// Takes what `batch` has besides plain floats; `resolved` are its series.
    pub(super) fn take_extras(
        &self,
        batch: &WriteBatch,
        resolved: &[Resolved<'_>],
        window: Window,
        prepared: &mut Prepared,
    ) {
        for (at, &series) in resolved.iter().enumerate() {
            let full = prepared.code(batch.full_samples(at), window, || self.series_shown(batch, at));
            let inside = batch.exemplars(at).iter().filter(|exemplar| window.takes(exemplar.timestamp_ms));
            let outside = batch.exemplars(at).len() - inside.clone().count();
            prepared.appended.exemplars_rejected += outside as u64;
            match series {
                Resolved::Known(id) => {
                    for sample in full {
                        prepared.extras.push(id, sample);
                    }
                    for exemplar in inside {
                        match self.exemplars.read().look(id, exemplar) {
                            Verdict::New => prepared.extras.exemplars.push((id, exemplar.clone())),
                            Verdict::Known => {}
                            Verdict::Refused => prepared.appended.exemplars_rejected += 1,
                        }
                    }
                }
                Resolved::New(labels) => {
                    let exemplars: Vec<Exemplar> = inside.cloned().collect();
                    if !full.is_empty() {
                        prepared.unknown_extras.full.push((labels.to_owned(), full));
                    }
                    if !exemplars.is_empty() {
                        prepared.unknown_extras.exemplars.push((labels.to_owned(), exemplars));
                    }
                }
            }
        }
    }
}

impl Prepared {
    /// The samples of a series that are more than floats, coded; what cannot be kept is rejected, of a series as `shown`.
    fn code(&mut self, samples: &[FullSample], window: Window, shown: impl Fn() -> String) -> Vec<Coded> {
        let mut coded = Vec::with_capacity(samples.len());
        for sample in samples {
            let timestamp_ms = sample.timestamp_ms;
            let is_histogram = matches!(sample.value, SampleValue::Histogram(_));
            if !window.takes(timestamp_ms) {
                self.reject(is_histogram, || window.rejection(shown(), timestamp_ms));
                continue;
            }
            match full::canonical(sample) {
                Ok(sample) => {
                    let mut bytes = Vec::new();
                    full::encode(&sample, &mut bytes);
                    coded.push(Coded { timestamp_ms, bytes: bytes.into(), is_histogram });
                }
                Err(error) => self.reject(is_histogram, || {
                    let (series, detail) = (shown(), error.to_string());
                    Rejection::Histogram { series, timestamp_ms, detail }
                }),
            }
        }
        coded
    }
}

/// Cuts rows of `length` bytes each into parts that fit a section, and with it a record.
pub(super) fn cut<T>(mut rows: &[T], rows_max: usize, length: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut parts = Vec::new();
    while !rows.is_empty() {
        let mut bytes = 0;
        let fits = |row: &&T| {
            bytes += length(row);
            bytes <= RECORD_PAYLOAD_BYTES
        };
        let count = rows.iter().take(rows_max).take_while(fits).count().max(1);
        let (part, rest) = rows.split_at(count);
        parts.push(part);
        rows = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::frame;

    /// However long the rows are, no section makes a record longer than what is read back.
    #[test]
    fn sections_are_cut_by_number_and_bytes() {
        let lengths =
            |rows: &[usize]| cut(rows, 4096, |&bytes| bytes).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&vec![9; 4096 * 2 + 1]), [4096, 4096, 1]);
        let most = RECORD_PAYLOAD_BYTES;
        assert_eq!(lengths(&[1, most - 1, 1, most, most + 1, 2, 3]), [2, 1, 1, 1, 2]);
        const { assert!(RECORD_PAYLOAD_BYTES * 2 < frame::PAYLOAD_BYTES_MAX) };
    }
}
