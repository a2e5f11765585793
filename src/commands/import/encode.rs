//! Batches as bodies of remote write, before compression.
//!
//! Field numbers are those of `model::remote_write`.

use std::collections::HashMap;

use model::remote_write::{self as wire, exact};
use model::{BatchSeries, FullSample, LabelsRef, MetricMetadata, SampleValue, WriteBatch};
use prost::Message;
use prost::encoding::encode_varint;

/// The versions of remote write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 1.0, which everything speaks.
    V1,
    /// 2.0, which has starts of counters, and tells how much was taken.
    V2,
}

/// The fields of a series, by version.
struct Fields {
    samples: u32,
    histograms: u32,
}

/// A request with all series of `batch`.
pub(super) fn encode(batch: &WriteBatch, version: Version) -> Vec<u8> {
    let mut body = Vec::new();
    let (mut symbols, mut series) = (Symbols::default(), Vec::new());
    for at in 0..batch.series_len() {
        series.clear();
        // Batches of files are made without a sink, so that nothing has a number.
        let BatchSeries::Labels(labels) = batch.series(at) else { continue };
        let (field, fields) = match version {
            Version::V1 => {
                exact::push_labels(&mut series, 1, labels);
                (1, Fields { samples: 2, histograms: 4 })
            }
            Version::V2 => {
                symbols.push_refs(&mut series, labels);
                (5, Fields { samples: 2, histograms: 3 })
            }
        };
        push_samples(&mut series, batch, at, &fields, version);
        exact::push_bytes(&mut body, field, &series);
    }
    for text in symbols.texts {
        exact::push_bytes(&mut body, 4, text.as_bytes());
    }
    body
}

/// A request of version 1.0 that describes metrics.
pub(super) fn encode_metadata(described: &[(String, MetricMetadata)]) -> Vec<u8> {
    let metadata = described.iter().map(|(metric, of)| wire::Metadata {
        kind: wire::kind_number(of.kind),
        metric_family_name: metric.clone(),
        help: of.help.clone(),
        unit: of.unit.clone(),
    });
    wire::WriteRequest { timeseries: Vec::new(), metadata: metadata.collect() }.encode_to_vec()
}

/// The texts of a request of version 2.0, each once; the first is empty.
#[derive(Debug)]
struct Symbols<'b> {
    texts: Vec<&'b str>,
    places: HashMap<&'b str, u64>,
}

impl Default for Symbols<'_> {
    fn default() -> Self {
        Self { texts: vec![""], places: HashMap::from([("", 0)]) }
    }
}

impl<'b> Symbols<'b> {
    fn push_refs(&mut self, series: &mut Vec<u8>, labels: LabelsRef<'b>) {
        let mut refs = Vec::new();
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            let next = self.texts.len() as u64;
            let place = *self.places.entry(text).or_insert(next);
            if place == next {
                self.texts.push(text);
            }
            encode_varint(place, &mut refs);
        }
        exact::push_bytes(series, 1, &refs);
    }
}

fn push_samples(series: &mut Vec<u8>, batch: &WriteBatch, at: usize, fields: &Fields, version: Version) {
    let start = |start_ms: i64| if version == Version::V2 { start_ms } else { 0 };
    for plain in batch.samples(at) {
        exact::push_sample(series, fields.samples, plain.timestamp.0, plain.value, 0);
    }
    for FullSample { timestamp_ms, start_ms, value } in batch.full_samples(at) {
        let start_ms = start(*start_ms);
        match value {
            SampleValue::Float(value) => {
                exact::push_sample(series, fields.samples, *timestamp_ms, *value, start_ms);
            }
            SampleValue::Histogram(histogram) => {
                exact::push_histogram(series, fields.histograms, histogram, *timestamp_ms, start_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ingest::{IngestLimits, Rejected, RemoteWriteDecoder, Version as Spoken};
    use model::sample::stale_marker;
    use model::{Histogram, Labels, NoCursor};

    use super::*;

    fn filled() -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.push_series(Labels::from_pairs([("__name__", "a"), ("x", "a")]).expect("valid").as_ref());
        for (timestamp_ms, value) in [(0, 0.0), (i64::MIN, -0.0), (i64::MAX, stale_marker()), (1, f64::INFINITY)] {
            batch.push_sample(timestamp_ms, value);
        }
        batch.push_series(Labels::from_pairs([("__name__", "b"), ("x", "a")]).expect("valid").as_ref());
        let histogram = Histogram { count: 1.0, sum: -0.0, zero_count: 1.0, ..Histogram::default() };
        for value in [SampleValue::Float(-0.0), SampleValue::Histogram(Arc::new(histogram))] {
            batch.push_full_sample(FullSample { timestamp_ms: 9, start_ms: 5, value });
        }
        batch
    }

    /// What our own server reads of it: labels, and samples with the bits of their values.
    fn decoded(version: Version) -> Vec<(Labels, Vec<FullSample>)> {
        let spoken = match version {
            Version::V1 => Spoken::V1,
            Version::V2 => Spoken::V2,
        };
        let (mut batch, mut rejected) = (WriteBatch::new(), Rejected::default());
        let body = encode(&filled(), version);
        let mut decoder = RemoteWriteDecoder::default();
        let read = decoder.decode(spoken, &body, &IngestLimits::default(), &mut NoCursor, &mut batch, &mut rejected);
        read.expect("a request");
        assert!(rejected.is_empty(), "{rejected:?}");
        let samples = |at: usize| {
            let plain = batch.samples(at).iter().map(|one| FullSample {
                timestamp_ms: one.timestamp.0,
                start_ms: 0,
                value: SampleValue::Float(one.value),
            });
            plain.chain(batch.full_samples(at).iter().cloned()).collect()
        };
        let labels = |at: usize| batch.series(at).labels().expect("nobody knows numbers").to_owned();
        (0..batch.series_len()).map(|at| (labels(at), samples(at))).collect()
    }

    #[test]
    fn everything_arrives_to_the_bit() {
        let filled = filled();
        let plain = filled.samples(0).iter().map(|one| (one.timestamp.0, one.value.to_bits()));
        let of = |(_, samples): &(Labels, Vec<FullSample>)| {
            let bits = |one: &FullSample| match one.value {
                SampleValue::Float(value) => (one.timestamp_ms, value.to_bits()),
                SampleValue::Histogram(_) => panic!("a float"),
            };
            samples.iter().map(bits).collect::<Vec<_>>()
        };
        for version in [Version::V1, Version::V2] {
            let got = decoded(version);
            assert_eq!(
                got.iter().map(|(labels, _)| labels.to_string()).collect::<Vec<_>>(),
                ["a{x=\"a\"}", "b{x=\"a\"}"]
            );
            assert_eq!(of(&got[0]), plain.clone().collect::<Vec<_>>(), "{version:?}");
            let mut want = filled.full_samples(1).to_vec();
            if version == Version::V1 {
                for sample in &mut want {
                    sample.start_ms = 0;
                }
            }
            assert_eq!(got[1].1, want, "{version:?}");
        }
    }
}
