//! Samples as pieces of requests for the queue, with the agent's own labels added.
//!
//! A piece is a message of remote write 1.0 (`prometheus.WriteRequest`) that says more than 1.0 has receivers read: starts
//! under the numbers of 2.0, histograms with custom buckets. Nothing that was collected is lost on the way to the disk;
//! what a receiver is told of it is decided when it is sent (`request`).

use model::remote_write::exact::{push_bytes, push_histogram, push_sample};
use model::{Exemplar, LabelsRef, SampleValue};
use prost::encoding::{double, int64};

use crate::readings::Values;

/// Labels that every series gets unless it has them: environment and static ones, sorted.
#[derive(Debug, Clone, Default)]
pub struct External(Vec<(String, String)>);

impl External {
    /// Labels in any order; empty values are left out.
    pub fn new(mut labels: Vec<(String, String)>) -> Self {
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort();
        Self(labels)
    }

    /// These, and `more` where these lack them.
    #[must_use]
    pub fn and(&self, more: &[(String, String)]) -> Self {
        let lacking = more.iter().filter(|(name, _)| self.0.iter().all(|(own, _)| own != name));
        Self::new(self.0.iter().chain(lacking).cloned().collect())
    }

    /// `labels` and those of these that it lacks, sorted by name.
    pub fn added_to<'a>(&'a self, labels: LabelsRef<'a>) -> Vec<(&'a str, &'a str)> {
        let mut all: Vec<(&str, &str)> = labels.iter().collect();
        for (name, value) in &self.0 {
            if let Err(at) = all.binary_search_by(|(own, _)| (*own).cmp(name)) {
                all.insert(at, (name, value));
            }
        }
        all
    }
}

/// A compressed piece of a request.
#[derive(Debug)]
pub struct Piece {
    /// A snappy block of protobuf.
    pub payload: Vec<u8>,
    /// Samples in it.
    pub samples: u32,
}

/// Encodes series into pieces of at most `samples_max` samples and exemplars, but one series at least.
pub fn encode<'r>(
    rows: impl Iterator<Item = (LabelsRef<'r>, Values<'r>)>,
    external: &External,
    samples_max: usize,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut request, mut series, mut samples, mut parts) = (Vec::new(), Vec::new(), 0, 0);
    for (labels, values) in rows {
        // Exemplars count too: series that have nothing else could fill a record beyond what its reader takes.
        let own = values.len() + values.exemplars.len();
        if own == 0 {
            continue;
        }
        if parts + own > samples_max && parts > 0 {
            pieces.push(piece(&request, samples));
            request.clear();
            (samples, parts) = (0, 0);
        }
        samples += values.len();
        parts += own;
        series.clear();
        push_pairs(&mut series, 1, external.added_to(labels));
        push_values(&mut series, values, HISTOGRAMS_FIELD, true);
        for exemplar in values.exemplars {
            push_bytes(&mut series, 3, &exemplar_message(exemplar));
        }
        push_bytes(&mut request, 1, &series);
    }
    if !request.is_empty() {
        pieces.push(piece(&request, samples));
    }
    pieces
}

/// The number of histograms in a series of version 1.0; 2.0 has another.
pub(super) const HISTOGRAMS_FIELD: u32 = 4;

/// Appends labels as messages of version 1.0 under `field`.
pub(super) fn push_pairs<'l>(out: &mut Vec<u8>, field: u32, labels: impl IntoIterator<Item = (&'l str, &'l str)>) {
    let mut label = Vec::new();
    for (name, value) in labels {
        label.clear();
        push_bytes(&mut label, 1, name.as_bytes());
        push_bytes(&mut label, 2, value.as_bytes());
        push_bytes(out, field, &label);
    }
}

/// Appends samples in order of time, which both versions have under 2, and histograms under `histograms_field`, with their
/// starts if `with_starts`.
pub(super) fn push_values(out: &mut Vec<u8>, values: Values<'_>, histograms_field: u32, with_starts: bool) {
    let start_of = |start_ms: i64| if with_starts { start_ms } else { 0 };
    let plain = values.floats.iter().map(|sample| (sample.timestamp.0, sample.value, 0));
    if values.full.is_empty() {
        plain.for_each(|(at_ms, value, start_ms)| push_sample(out, 2, at_ms, value, start_ms));
        return;
    }
    let started = values.full.iter().filter_map(|sample| match sample.value {
        SampleValue::Float(value) => Some((sample.timestamp_ms, value, start_of(sample.start_ms))),
        SampleValue::Histogram(_) => None,
    });
    let mut floats: Vec<(i64, f64, i64)> = plain.chain(started).collect();
    floats.sort_by_key(|(at_ms, ..)| *at_ms);
    for (at_ms, value, start_ms) in floats {
        push_sample(out, 2, at_ms, value, start_ms);
    }
    for sample in values.full {
        if let SampleValue::Histogram(histogram) = &sample.value {
            push_histogram(out, histograms_field, histogram, sample.timestamp_ms, start_of(sample.start_ms));
        }
    }
}

/// An exemplar of version 1.0.
pub(super) fn exemplar_message(exemplar: &Exemplar) -> Vec<u8> {
    let mut message = Vec::new();
    push_pairs(&mut message, 1, exemplar.labels.iter());
    double::encode(2, &exemplar.value, &mut message);
    int64::encode(3, &exemplar.timestamp_ms, &mut message);
    message
}

fn piece(request: &[u8], samples: usize) -> Piece {
    Piece { payload: compress(request), samples: u32::try_from(samples).unwrap_or(u32::MAX) }
}

/// A snappy block.
///
/// # Panics
///
/// When `bytes` is longer than 4 GiB, which no request is.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("requests are far shorter than snappy's 4 GiB")
}

/// Most bytes that one byte of a snappy block stands for: an element of three bytes copies up to 64.
const RATIO_MAX: usize = 22;

/// The bytes of a snappy block, at most `bytes_max`; nothing when it is damaged or longer.
pub fn decompress(block: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let possible = block.len().saturating_mul(RATIO_MAX);
    snap::raw::decompress_len(block).ok().filter(|length| *length <= bytes_max.min(possible))?;
    snap::raw::Decoder::new().decompress_vec(block).ok()
}

#[cfg(test)]
mod tests {
    use model::remote_write::{WireSample, WriteRequest, from_wire};
    use model::{Histogram, Labels, WriteBatch};
    use prost::Message;

    use super::*;
    use crate::readings::{Metric, Readings, rows};

    fn external() -> External {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        External::new(vec![pair("zone", "z"), pair("env", "prod"), pair("empty", ""), pair("job", "never")])
    }

    #[test]
    fn external_labels_are_added_in_order_and_never_replace() {
        let mut readings = Readings::new(9);
        readings.push_named("m", &[("job", "own"), ("q", "1")], 1.5);
        let pieces = encode(readings.iter(), &external(), 100);
        let bytes = decompress(&pieces[0].payload, 1 << 20).expect("snappy");
        let request = WriteRequest::decode(bytes.as_slice()).expect("protobuf");
        let labels: Vec<String> =
            request.timeseries[0].labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect();
        assert_eq!(labels, ["__name__=m", "env=prod", "job=own", "q=1", "zone=z"]);
        assert_eq!(request.timeseries[0].samples, [WireSample { value: 1.5, timestamp: 9, ..WireSample::default() }]);
    }

    #[test]
    fn pieces_joined_are_a_request() {
        let mut readings = Readings::new(9);
        for at in 0..7 {
            readings.push_named("m", &[("at", &at.to_string())], 1.0);
        }
        let pieces = encode(readings.iter(), &External::default(), 3);
        assert_eq!(pieces.iter().map(|piece| piece.samples).collect::<Vec<_>>(), [3, 3, 1]);
        let joined: Vec<u8> =
            pieces.iter().flat_map(|piece| decompress(&piece.payload, 1 << 20).expect("snappy")).collect();
        assert_eq!(WriteRequest::decode(joined.as_slice()).expect("protobuf").timeseries.len(), 7);
        assert!(decompress(&pieces[0].payload, 5).is_none(), "the bound holds");
        assert!(encode(Readings::new(1).iter(), &External::default(), 3).is_empty());
    }

    #[test]
    fn series_of_exemplars_alone_are_split_too() {
        let mut batch = WriteBatch::new();
        for at in 0..7 {
            batch.push_series(Labels::from_pairs([("__name__", format!("n{at}"))]).expect("valid").as_ref());
            let labels = Labels::from_pairs([("trace_id", "x")]).expect("valid");
            batch.push_exemplar(Exemplar { labels, value: 0.5, timestamp_ms: 8 });
        }
        let pieces = encode(rows(&batch), &External::default(), 3);
        let series = pieces.iter().map(|piece| {
            let bytes = decompress(&piece.payload, 1 << 20).expect("snappy");
            (piece.samples, WriteRequest::decode(bytes.as_slice()).expect("protobuf").timeseries.len())
        });
        assert_eq!(series.collect::<Vec<_>>(), [(0, 3), (0, 3), (0, 1)]);
    }

    #[test]
    fn histograms_starts_and_exemplars_are_in_the_piece() {
        let histogram = Histogram { count: 1.0, zero_count: 1.0, sum: -0.0, ..Histogram::default() };
        let mut readings = Readings::new(9);
        readings.set_start(4);
        readings.push(&Metric::counter("n_total", "N."), &[], 0.0);
        readings.push_histogram(&Metric::histogram("h", "H."), &[], histogram.clone());
        let labels = |name| Labels::from_pairs([(name, "x")]).expect("valid");
        let mut batch = WriteBatch::new();
        batch.push_series(labels("__name__").as_ref());
        batch.push_exemplar(Exemplar { labels: labels("trace_id"), value: 0.5, timestamp_ms: 8 });
        let pieces = encode(readings.iter().chain(rows(&batch)), &External::default(), 100);
        assert_eq!(pieces.iter().map(|piece| piece.samples).collect::<Vec<_>>(), [2]);
        let bytes = decompress(&pieces[0].payload, 1 << 20).expect("snappy");
        let [counter, native, example] =
            WriteRequest::decode(bytes.as_slice()).expect("protobuf").timeseries.try_into().expect("three series");
        assert_eq!(counter.samples, [WireSample { value: 0.0, timestamp: 9, start_timestamp: 4 }]);
        let [wire] = native.histograms.as_slice() else { panic!("one histogram") };
        assert_eq!((wire.timestamp, wire.start_timestamp, from_wire(wire).expect("sound")), (9, 4, histogram));
        assert_eq!((example.exemplars[0].value, example.exemplars[0].timestamp), (0.5, 8));
        assert_eq!(example.exemplars[0].labels[0].name, "trace_id");
    }
}
