//! The bodies of requests, made of what the queue kept: remote write 2.0 with all of it, or 1.0 with what 1.0 knows.
//!
//! Version 2.0 has every text once, in a table of symbols, and tells of each series what is known of its metric. Version
//! 1.0 has no starts, and no histograms with custom buckets: those become classic ones (`classic`), and so do all where
//! the receiver or its owner wants none of the native kind.

use std::collections::HashMap;

use ingest::{IngestError, IngestLimits, Rejected, RemoteWriteDecoder, Version};
use model::labels::BUCKET_LABEL;
use model::remote_write::exact::{push_bytes, push_sample};
use model::remote_write::kind_number;
use model::{Exemplar, FullSample, LabelLimits, LabelsRef, METRIC_NAME, NoCursor, SampleValue, WriteBatch};
use prost::encoding::{double, encode_varint, int32, int64, uint32};

use super::classic::Told;
use super::encode::{HISTOGRAMS_FIELD, exemplar_message, push_pairs, push_values};
use super::metadata::MetadataBook;
use crate::readings::{Values, rows};

/// Most bytes of one record before compression; its body was bounded when it was made.
const RECORD_BYTES_MAX: usize = 128 << 20;

/// Reads records back into series.
#[derive(Debug)]
pub struct RecordDecoder {
    decoder: RemoteWriteDecoder,
    limits: IngestLimits,
}

impl Default for RecordDecoder {
    fn default() -> Self {
        // What the agent wrote was within its limits, and labels of the whole agent were added.
        let labels = LabelLimits::default();
        let labels = LabelLimits {
            labels_max: labels.labels_max * 4,
            set_bytes_max: labels.set_bytes_max * 4,
            value_bytes_max: labels.value_bytes_max * 4,
            ..labels
        };
        let limits = IngestLimits {
            labels,
            histogram_bytes_per_request_max: RECORD_BYTES_MAX,
            decompressed_bytes_max: RECORD_BYTES_MAX,
            ..IngestLimits::default()
        };
        Self { decoder: RemoteWriteDecoder::default(), limits: limits.consistent() }
    }
}

impl RecordDecoder {
    /// The series of a record's payload, decompressed; and how many of its samples are none.
    ///
    /// # Errors
    ///
    /// When the bytes are no request.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<(WriteBatch, u64), IngestError> {
        let (mut batch, mut rejected) = (WriteBatch::new(), Rejected::default());
        let decoded = self.decoder.decode(Version::V1, bytes, &self.limits, &mut NoCursor, &mut batch, &mut rejected);
        self.decoder.clear();
        decoded.map(|()| (batch, rejected.told_count()))
    }
}

/// The body of a request of version 1.0 with the series of `batches`; `native` says whether exponential histograms go as
/// they are, `told` remembers which became classic.
pub fn body_v1<'b>(batches: impl IntoIterator<Item = &'b WriteBatch>, native: bool, told: &mut Told) -> Vec<u8> {
    let (mut body, mut series) = (Vec::new(), Vec::new());
    let is_native = |sample: &FullSample| match &sample.value {
        SampleValue::Float(_) => true,
        SampleValue::Histogram(histogram) => native && !histogram.is_custom() && !histogram.is_stale_marker(),
    };
    for (labels, values) in batches.into_iter().flat_map(rows) {
        if !values.full.iter().all(is_native) {
            push_classic(&mut body, &mut series, labels, values, told);
            continue;
        }
        series.clear();
        push_pairs(&mut series, 1, labels.iter());
        push_values(&mut series, values, HISTOGRAMS_FIELD, false);
        for exemplar in values.exemplars {
            push_bytes(&mut series, 3, &exemplar_message(exemplar));
        }
        push_bytes(&mut body, 1, &series);
    }
    body
}

/// Appends the classic series of the histograms of one series, and the floats between them as they are. The end of a series
/// that was not told as classic ones is told as a float, which receivers take for either kind.
fn push_classic(body: &mut Vec<u8>, series: &mut Vec<u8>, labels: LabelsRef<'_>, values: Values<'_>, told: &mut Told) {
    let name = labels.get(METRIC_NAME).unwrap_or("");
    let mut push = |series: &mut Vec<u8>, suffix: &str, le: Option<&str>, at_ms: i64, value: f64| {
        let name = format!("{name}{suffix}");
        let mut pairs: Vec<(&str, &str)> =
            labels.iter().filter(|(own, _)| le.is_none() || *own != BUCKET_LABEL).collect();
        if let Some(own) = pairs.iter_mut().find(|(own, _)| *own == METRIC_NAME) {
            own.1 = &name;
        }
        if let Some(le) = le {
            let at = pairs.partition_point(|(own, _)| *own < BUCKET_LABEL);
            pairs.insert(at, (BUCKET_LABEL, le));
        }
        series.clear();
        push_pairs(series, 1, pairs);
        push_sample(series, 2, at_ms, value, 0);
        push_bytes(body, 1, series);
    };
    for sample in values.floats {
        push(series, "", None, sample.timestamp.0, sample.value);
    }
    for sample in values.full {
        match &sample.value {
            SampleValue::Float(value) => push(series, "", None, sample.timestamp_ms, *value),
            SampleValue::Histogram(histogram) => {
                if histogram.is_stale_marker() && !told.contains(labels) {
                    push(series, "", None, sample.timestamp_ms, histogram.sum);
                }
                for (part, value) in told.parts(labels, histogram) {
                    push(series, part.suffix(), part.le().as_deref(), sample.timestamp_ms, value);
                }
            }
        }
    }
}

/// A body of version 2.0, and the metrics whose metadata it tells.
#[derive(Debug)]
pub struct BodyV2 {
    /// The request, not compressed.
    pub bytes: Vec<u8>,
    /// Metrics of `book` that were told of.
    pub described: Vec<String>,
}

/// The body of a request of version 2.0 with the series of `batches`. What `book` knows of a metric rides on its series
/// when it is due at `now_ms`.
pub fn body_v2<'b>(
    batches: impl IntoIterator<Item = &'b WriteBatch>,
    book: &MetadataBook,
    now_ms: i64,
    interval_ms: i64,
) -> BodyV2 {
    let mut symbols = Symbols::default();
    let (mut all, mut series, mut message) = (Vec::new(), Vec::new(), Vec::new());
    let mut described = Vec::new();
    for (labels, values) in batches.into_iter().flat_map(rows) {
        series.clear();
        push_refs(&mut series, &mut message, labels, &mut symbols);
        push_values(&mut series, values, 3, true);
        for exemplar in values.exemplars {
            message.clear();
            push_exemplar(&mut message, exemplar, &mut symbols);
            push_bytes(&mut series, 4, &message);
        }
        if let Some((metric, metadata)) =
            labels.get(METRIC_NAME).and_then(|name| book.of_series(name, now_ms, interval_ms))
        {
            message.clear();
            int32::encode(1, &kind_number(metadata.kind), &mut message);
            uint32::encode(3, &symbols.place(&metadata.help), &mut message);
            uint32::encode(4, &symbols.place(&metadata.unit), &mut message);
            push_bytes(&mut series, 5, &message);
            described.push(metric.to_owned());
        }
        push_bytes(&mut all, 5, &series);
    }
    described.sort_unstable();
    described.dedup();
    let mut bytes = Vec::with_capacity(all.len() + symbols.bytes);
    for text in std::iter::once("").chain(symbols.texts) {
        push_bytes(&mut bytes, 4, text.as_bytes());
    }
    bytes.append(&mut all);
    BodyV2 { bytes, described }
}

/// Texts, each once. Place 0 is the empty one.
#[derive(Debug, Default)]
struct Symbols<'t> {
    places: HashMap<&'t str, u32>,
    texts: Vec<&'t str>,
    bytes: usize,
}

impl<'t> Symbols<'t> {
    fn place(&mut self, text: &'t str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        *self.places.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.bytes += text.len() + 6;
            u32::try_from(self.texts.len()).expect("a request is far shorter than 2^32 texts")
        })
    }
}

/// Appends the places of names and values under 1, as one run; `scratch` is used on the way.
fn push_refs<'t>(out: &mut Vec<u8>, scratch: &mut Vec<u8>, labels: LabelsRef<'t>, symbols: &mut Symbols<'t>) {
    scratch.clear();
    for (name, value) in labels.iter() {
        encode_varint(u64::from(symbols.place(name)), scratch);
        encode_varint(u64::from(symbols.place(value)), scratch);
    }
    push_bytes(out, 1, scratch);
}

fn push_exemplar<'t>(out: &mut Vec<u8>, exemplar: &'t Exemplar, symbols: &mut Symbols<'t>) {
    push_refs(out, &mut Vec::new(), exemplar.labels.as_ref(), symbols);
    double::encode(2, &exemplar.value, out);
    int64::encode(3, &exemplar.timestamp_ms, out);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::histogram::CUSTOM_SCHEMA;
    use model::remote_write::{WriteRequest, from_wire, v2};
    use model::{Bucket, Histogram, Labels, MetricKind, MetricMetadata};
    use prost::Message;

    use super::*;
    use crate::readings::{Metric, Readings};
    use crate::send::encode::{External, decompress, encode};

    fn custom() -> Histogram {
        Histogram {
            schema: CUSTOM_SCHEMA,
            count: 3.0,
            sum: 1.5,
            positive: vec![Bucket { index: 0, count: 1.0 }, Bucket { index: 1, count: 2.0 }],
            custom_bounds: vec![0.5],
            ..Histogram::default()
        }
    }

    fn exponential() -> Histogram {
        Histogram { schema: 2, count: 1.0, zero_count: 1.0, ..Histogram::default() }
    }

    /// A round with everything, as it comes back from the queue.
    fn batch() -> WriteBatch {
        let mut readings = Readings::new(9_000);
        readings.set_target([("job", "api")]);
        readings.set_start(4_000);
        readings.push(&Metric::counter("n_total", "N."), &[], 7.0);
        readings.push(&Metric::gauge("g", "G."), &[], -0.0);
        readings.push_histogram(&Metric::histogram("waits_seconds", "Waits."), &[("zone", "z")], custom());
        readings.push_histogram(&Metric::histogram("sizes_bytes", "Sizes."), &[], exponential());
        let mut more = WriteBatch::new();
        more.push_series(Labels::from_pairs([("__name__", "g"), ("job", "b")]).expect("valid").as_ref());
        more.push_exemplar(Exemplar {
            labels: Labels::from_pairs([("trace_id", "t")]).expect("valid"),
            value: 0.5,
            timestamp_ms: 8_999,
        });
        let pieces = encode(readings.iter().chain(rows(&more)), &External::default(), 100);
        let bytes = decompress(&pieces[0].payload, 1 << 20).expect("snappy");
        let (batch, rejected) = RecordDecoder::default().decode(&bytes).expect("a request");
        assert_eq!(rejected, 0);
        batch
    }

    fn book() -> MetadataBook {
        let of = |kind, help: &str| MetricMetadata { kind, unit: String::new(), help: help.to_owned() };
        let mut book = MetadataBook::default();
        book.take(
            &BTreeMap::from([
                ("n_total".to_owned(), of(MetricKind::Counter, "N.")),
                ("waits_seconds".to_owned(), of(MetricKind::Histogram, "Waits.")),
            ]),
            0,
        );
        book
    }

    #[test]
    fn version_2_says_everything() {
        let (batch, book) = (batch(), book());
        let body = body_v2([&batch], &book, 0, 1_000);
        assert_eq!(body.described, ["n_total", "waits_seconds"]);
        let request = v2::Request::decode(body.bytes.as_slice()).expect("protobuf");
        assert_eq!(request.symbols[0], "");
        let mut texts = request.symbols.clone();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), request.symbols.len(), "each text once");
        let [counter, gauge, waits, sizes, example] = request.timeseries.as_slice() else { panic!("five series") };
        let text = |at: u32| request.symbols[at as usize].as_str();
        let labels: Vec<&str> = waits.labels_refs.iter().map(|at| text(*at)).collect();
        assert_eq!(labels, ["__name__", "waits_seconds", "job", "api", "zone", "z"]);
        assert_eq!((counter.samples[0].value, counter.samples[0].start_timestamp), (7.0, 4_000));
        assert_eq!(gauge.samples[0].value.to_bits(), (-0.0_f64).to_bits());
        assert_eq!(from_wire(&waits.histograms[0]).expect("sound"), custom());
        assert_eq!((waits.histograms[0].timestamp, waits.histograms[0].start_timestamp), (9_000, 4_000));
        assert_eq!(from_wire(&sizes.histograms[0]).expect("sound"), exponential());
        let told = waits.metadata.expect("metadata");
        assert_eq!((told.kind, text(told.help_ref), told.unit_ref), (kind_number(MetricKind::Histogram), "Waits.", 0));
        assert!(sizes.metadata.is_none(), "nothing is known of it");
        assert_eq!((example.exemplars[0].value, example.exemplars[0].timestamp), (0.5, 8_999));
        assert_eq!(text(example.exemplars[0].labels_refs[1]), "t");
    }

    #[test]
    fn the_decoder_of_the_server_reads_what_is_sent() {
        let (batch, book) = (batch(), book());
        let body = body_v2([&batch, &batch], &book, 0, 1_000);
        let (mut read, mut rejected) = (WriteBatch::new(), Rejected::default());
        let mut decoder = RemoteWriteDecoder::default();
        let limits = IngestLimits::default();
        decoder.decode(Version::V2, &body.bytes, &limits, &mut NoCursor, &mut read, &mut rejected).expect("a request");
        assert!(rejected.is_empty());
        let shown = |batch: &WriteBatch| {
            rows(batch).map(|(l, v)| format!("{l} {:?} {:?} {:?}", v.floats, v.full, v.exemplars)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&read), [shown(&batch), shown(&batch)].concat());
        assert_eq!(read.metadata().len(), 2);
    }

    /// Name and `le` of every series, with its value, or `native`.
    fn shown_v1(body: &[u8]) -> Vec<String> {
        let request = WriteRequest::decode(body).expect("protobuf");
        let shown = request.timeseries.iter().map(|series| {
            assert!(series.labels.is_sorted_by(|a, b| a.name < b.name), "{:?}", series.labels);
            let label = |name: &str| series.labels.iter().find(|l| l.name == name).map_or("", |l| l.value.as_str());
            let value = match (series.samples.first(), series.histograms.first()) {
                (Some(sample), None) => {
                    assert_eq!(sample.start_timestamp, 0);
                    sample.value.to_string()
                }
                (None, Some(_)) => "native".to_owned(),
                _ => format!("{} exemplars", series.exemplars.len()),
            };
            format!("{} {} {value}", label("__name__"), label("le"))
        });
        shown.collect()
    }

    #[test]
    fn version_1_says_what_its_receivers_know() {
        let batch = batch();
        let waits = [
            "waits_seconds_bucket 0.5 1",
            "waits_seconds_bucket +Inf 3",
            "waits_seconds_sum  1.5",
            "waits_seconds_count  3",
        ];
        let mut want = vec!["n_total  7", "g  -0"];
        want.extend(waits);
        want.extend(["sizes_bytes  native", "g  1 exemplars"]);
        assert_eq!(shown_v1(&body_v1([&batch], true, &mut Told::default())), want);
        let classic =
            ["sizes_bytes_bucket 0 1", "sizes_bytes_bucket +Inf 1", "sizes_bytes_sum  0", "sizes_bytes_count  1"];
        let at = want.len() - 2;
        want.splice(at..=at, classic);
        assert_eq!(shown_v1(&body_v1([&batch], false, &mut Told::default())), want);
    }

    #[test]
    fn a_stale_histogram_ends_as_what_it_was() {
        let mut batch = WriteBatch::new();
        batch.push_series(Labels::from_pairs([("__name__", "h")]).expect("valid").as_ref());
        let value = SampleValue::Histogram(Histogram::stale_marker().into());
        batch.push_full_sample(FullSample { timestamp_ms: 1, start_ms: 0, value });
        let body = body_v2([&batch], &MetadataBook::default(), 0, 1);
        let request = v2::Request::decode(body.bytes.as_slice()).expect("protobuf");
        assert!(model::sample::is_stale_marker(request.timeseries[0].histograms[0].sum));
        let mut told = Told::default();
        assert_eq!(shown_v1(&body_v1([&batch], true, &mut told)), ["h  NaN"]);
        let mut before = WriteBatch::new();
        before.push_series(Labels::from_pairs([("__name__", "h")]).expect("valid").as_ref());
        let value = SampleValue::Histogram(custom().into());
        before.push_full_sample(FullSample { timestamp_ms: 0, start_ms: 0, value });
        body_v1([&before], true, &mut told);
        let want = ["h_bucket 0.5 NaN", "h_bucket +Inf NaN", "h_sum  NaN", "h_count  NaN"];
        assert_eq!(shown_v1(&body_v1([&batch], true, &mut told)), want);
    }
}
