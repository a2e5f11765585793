//! What a request says: to our walk, and to prost by the rules of the walk. Requests to try both on.

use std::collections::HashSet;

use ingest::{IngestError, IngestLimits, Reason, Rejected, RemoteWriteDecoder, Version};
use model::exemplar::EXEMPLAR_LABEL_CHARS_MAX;
use model::remote_write::{
    BucketSpan, Label, TimeSeries, WireCount, WireExemplar, WireHistogram, WireSample, WireZeroCount, WriteRequest,
    from_wire, kind_from_number, v2,
};
use model::{
    BatchSeries, Exemplar, FullSample, HistogramSample, Labels, MetricKind, MetricMetadata, NoCursor, SampleValue,
    SeriesCursor, WriteBatch,
};
use proptest::prelude::*;

/// What a series says. Lists are sorted, as a batch promises no order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SaidSeries {
    pub labels: Labels,
    /// Times and bits of floats without a start.
    pub plain: Vec<(i64, u64)>,
    /// Times, starts and bits of floats with a start.
    pub started: Vec<(i64, i64, u64)>,
    pub histograms: Vec<HistogramSample>,
    pub exemplars: Vec<Exemplar>,
}

/// Labels, value and time of an exemplar as a message has it.
type SentExemplar<'s> = (Vec<(&'s str, &'s str)>, f64, i64);

/// What a request says, and how much of it can't be taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub series: Vec<SaidSeries>,
    pub metadata: Vec<(String, MetricMetadata)>,
    /// Samples and histograms.
    pub samples_rejected: u64,
    pub exemplars_left_out: u64,
    /// Histograms taken.
    pub histograms: u64,
}

pub(crate) fn walk_within(
    version: Version,
    body: &[u8],
    limits: &IngestLimits,
) -> Result<(Said, Rejected), IngestError> {
    walk_knowing(version, body, limits, &mut NoCursor, &[])
}

/// As [`walk_within`], with a cursor whose numbers are places in `known`.
pub(crate) fn walk_knowing(
    version: Version,
    body: &[u8],
    limits: &IngestLimits,
    cursor: &mut dyn SeriesCursor,
    known: &[Labels],
) -> Result<(Said, Rejected), IngestError> {
    let mut batch = WriteBatch::new();
    let mut rejected = Rejected::default();
    let mut decoder = RemoteWriteDecoder::default();
    decoder.decode(version, body, limits, cursor, &mut batch, &mut rejected)?;
    let mut said = Said {
        metadata: batch.metadata().to_vec(),
        samples_rejected: rejected.told_count() - rejected.count(Reason::BadMetadata),
        exemplars_left_out: rejected.count(Reason::Exemplar),
        histograms: decoder.histograms(),
        ..Said::default()
    };
    for (at, (series, samples)) in batch.iter().enumerate() {
        let labels = match series {
            BatchSeries::Labels(labels) => labels.to_owned(),
            BatchSeries::Known(number) => known[number as usize].clone(),
        };
        let mut series = SaidSeries {
            labels,
            plain: samples.iter().map(|sample| (sample.timestamp.0, sample.value.to_bits())).collect(),
            exemplars: batch.exemplars(at).to_vec(),
            ..SaidSeries::default()
        };
        for FullSample { timestamp_ms, start_ms, value } in batch.full_samples(at).iter().cloned() {
            match value {
                SampleValue::Float(value) => series.started.push((timestamp_ms, start_ms, value.to_bits())),
                SampleValue::Histogram(histogram) => {
                    series.histograms.push(HistogramSample { timestamp_ms, start_ms, histogram });
                }
            }
        }
        said.push(series);
    }
    Ok((said, rejected))
}

pub(crate) fn walk(version: Version, body: &[u8]) -> Result<Said, IngestError> {
    walk_within(version, body, &IngestLimits::default()).map(|(said, _)| said)
}

impl Said {
    fn push(&mut self, mut series: SaidSeries) {
        series.plain.sort_unstable();
        series.started.sort_unstable();
        series.histograms.sort_by_key(|sample| (sample.timestamp_ms, sample.start_ms));
        self.series.push(series);
    }

    /// Adds a series as a message has it: `pairs` of labels if they are pairs, `created_ms` for samples without a
    /// start.
    fn push_message(
        &mut self,
        pairs: Option<&[(&str, &str)]>,
        samples: &[WireSample],
        histograms: &[WireHistogram],
        exemplars: &[Option<SentExemplar<'_>>],
        created_ms: i64,
    ) {
        let start = |start_ms: i64, timestamp_ms: i64| {
            let believed = |start_ms: &i64| *start_ms != 0 && *start_ms <= timestamp_ms;
            Some(start_ms).filter(believed).or(Some(created_ms).filter(believed)).unwrap_or(0)
        };
        let mut series = SaidSeries::default();
        for sample in samples {
            match start(sample.start_timestamp, sample.timestamp) {
                0 => series.plain.push((sample.timestamp, sample.value.to_bits())),
                start_ms => series.started.push((sample.timestamp, start_ms, sample.value.to_bits())),
            }
        }
        for wire in histograms {
            match from_wire(wire) {
                Ok(histogram) => series.histograms.push(HistogramSample {
                    timestamp_ms: wire.timestamp,
                    start_ms: start(wire.start_timestamp, wire.timestamp),
                    histogram: histogram.into(),
                }),
                Err(_) => self.samples_rejected += 1,
            }
        }
        for exemplar in exemplars {
            match exemplar.as_ref().and_then(|(pairs, value, timestamp_ms)| taken(pairs, *value, *timestamp_ms)) {
                Some(exemplar) => series.exemplars.push(exemplar),
                None => self.exemplars_left_out += 1,
            }
        }
        let taken = series.plain.len() + series.started.len() + series.histograms.len();
        match pairs.and_then(|pairs| Labels::from_pairs(pairs.iter().copied()).ok()) {
            Some(labels) if labels.get("__name__").is_some() => {
                if taken > 0 || !series.exemplars.is_empty() {
                    self.histograms += series.histograms.len() as u64;
                    self.push(SaidSeries { labels, ..series });
                }
            }
            _ => {
                self.samples_rejected += taken as u64;
                self.exemplars_left_out += series.exemplars.len() as u64;
            }
        }
    }
}

fn taken(pairs: &[(&str, &str)], value: f64, timestamp_ms: i64) -> Option<Exemplar> {
    let chars: usize = pairs.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    let labels = Labels::from_pairs(pairs.iter().copied()).ok()?;
    (chars <= EXEMPLAR_LABEL_CHARS_MAX && timestamp_ms != 0).then_some(Exemplar { labels, value, timestamp_ms })
}

fn pairs(labels: &[Label]) -> Vec<(&str, &str)> {
    labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect()
}

/// What prost reads in `request`, by the rules of the walk.
pub(crate) fn expected<'r>(request: &'r WriteRequest) -> Said {
    let mut said = Said::default();
    for TimeSeries { labels, samples, exemplars, histograms } in &request.timeseries {
        let exemplar = |of: &'r WireExemplar| Some((pairs(&of.labels), of.value, of.timestamp));
        let exemplars: Vec<_> = exemplars.iter().map(exemplar).collect();
        said.push_message(Some(&pairs(labels)), samples, histograms, &exemplars, 0);
    }
    for metadata in request.metadata.iter().filter(|metadata| !metadata.metric_family_name.is_empty()) {
        let kind = kind_from_number(metadata.kind);
        let (unit, help) = (metadata.unit.clone(), metadata.help.clone());
        said.metadata.push((metadata.metric_family_name.clone(), MetricMetadata { kind, unit, help }));
    }
    said
}

/// The pairs that references stand for, unless one is beyond the symbols or alone.
fn resolved<'s>(refs: &[u32], symbols: &'s [String]) -> Option<Vec<(&'s str, &'s str)>> {
    let texts: Option<Vec<&str>> =
        refs.iter().map(|&reference| symbols.get(reference as usize).map(String::as_str)).collect();
    let texts = texts.filter(|texts| texts.len().is_multiple_of(2))?;
    Some(texts.chunks(2).map(|pair| (pair[0], pair[1])).collect())
}

/// What prost reads in a request of version 2.0, by the rules of the walk.
pub(crate) fn expected_v2(request: &v2::Request) -> Said {
    let mut said = Said::default();
    let mut described = HashSet::new();
    let symbols = request.symbols.as_slice();
    for series in &request.timeseries {
        let labels = resolved(&series.labels_refs, symbols);
        let exemplars: Vec<_> = series
            .exemplars
            .iter()
            .map(|of| resolved(&of.labels_refs, symbols).map(|pairs| (pairs, of.value, of.timestamp)))
            .collect();
        let (samples, histograms) = (&series.samples, &series.histograms);
        said.push_message(labels.as_deref(), samples, histograms, &exemplars, series.created_timestamp);
        let Some(metadata) = series.metadata.filter(|metadata| *metadata != v2::Metadata::default()) else { continue };
        let Some(labels) = labels else { continue };
        let Some((_, metric)) = labels.iter().rfind(|(name, value)| *name == "__name__" && !value.is_empty()) else {
            continue;
        };
        let kind = kind_from_number(metadata.kind);
        if metadata.help_ref == 0 && metadata.unit_ref == 0 && kind == MetricKind::Unknown {
            continue;
        }
        let suffixes: &[&str] = match kind {
            MetricKind::Summary => &["_count", "_sum"],
            MetricKind::Histogram => &["_count", "_sum", "_bucket"],
            MetricKind::GaugeHistogram => &["_count", "_sum", "_bucket", "_gcount", "_gsum"],
            _ => &[],
        };
        let family = suffixes.iter().find_map(|suffix| metric.strip_suffix(suffix));
        let family = family.filter(|family| !family.is_empty()).unwrap_or(metric);
        let text = |reference: u32| match reference {
            0 => Some(String::new()),
            _ => symbols.get(reference as usize).cloned(),
        };
        if described.insert(family.to_owned())
            && let (Some(help), Some(unit)) = (text(metadata.help_ref), text(metadata.unit_ref))
        {
            said.metadata.push((family.to_owned(), MetricMetadata { kind, unit, help }));
        }
    }
    said
}

pub(crate) fn any_sample() -> impl Strategy<Value = WireSample> {
    let start = prop_oneof![4 => Just(0i64), 1 => any::<i64>(), 1 => -9..9i64];
    let timestamp = prop_oneof![any::<i64>(), -9..9i64];
    (any::<u64>(), timestamp, start).prop_map(|(bits, timestamp, start_timestamp)| WireSample {
        value: f64::from_bits(bits),
        timestamp,
        start_timestamp,
    })
}

/// Spans with what they cover, mostly.
fn any_side() -> impl Strategy<Value = (Vec<BucketSpan>, Vec<i64>, Vec<f64>)> {
    let span = (prop_oneof![8 => 0..9i32, 1 => any::<i32>()], prop_oneof![30 => 0..4u32, 1 => any::<u32>()]);
    (prop::collection::vec(span, 0..4), prop::collection::vec(0..5i32, 12), -4..4i32).prop_map(|(spans, pool, last)| {
        let spans: Vec<_> = spans.into_iter().map(|(offset, length)| BucketSpan { offset, length }).collect();
        let covered = spans.iter().map(|span| span.length as usize).sum::<usize>().min(pool.len());
        let mut deltas = pool[..covered].to_vec();
        if let Some(delta) = deltas.last_mut() {
            *delta = last;
        }
        let counts = deltas.iter().copied().map(f64::from).collect();
        let deltas = deltas.into_iter().map(i64::from).collect();
        (spans, deltas, counts)
    })
}

/// Histograms of which about half are valid.
pub(crate) fn any_histogram() -> impl Strategy<Value = WireHistogram> {
    let schema = prop_oneof![8 => -4..=12i32, 1 => Just(-53), 1 => any::<i32>()];
    let total = prop_oneof![8 => 60..99u32, 1 => 0..9u32, 1 => any::<u32>()];
    let sum = prop_oneof![9 => any::<f64>(), 1 => Just(model::sample::stale_marker())];
    let bounds = prop_oneof![9 => Just(vec![]), 1 => prop::collection::vec(any::<f64>(), 0..4)];
    let times = (prop_oneof![any::<i64>(), -9..9i64], prop_oneof![Just(0i64), any::<i64>(), -9..9i64]);
    let zero = (prop_oneof![8 => 0.0..1.0f64, 1 => any::<f64>()], 0..9u32, 0..3usize);
    (schema, (total, any::<bool>()), sum, zero, (any_side(), any_side()), -1..5i32, bounds, times).prop_map(
        |(schema, (total, is_float), sum, zero, (positive, negative), reset_hint, custom_values, times)| {
            let (zero_threshold, zero_count, zero_form) = zero;
            WireHistogram {
                count: Some(if is_float { WireCount::Float(total.into()) } else { WireCount::Int(total.into()) }),
                sum,
                schema,
                zero_threshold,
                zero_count: [
                    None,
                    Some(WireZeroCount::Int(zero_count.into())),
                    Some(WireZeroCount::Float(zero_count.into())),
                ][zero_form],
                positive_spans: positive.0,
                positive_deltas: if is_float { vec![] } else { positive.1 },
                positive_counts: if is_float { positive.2 } else { vec![] },
                negative_spans: negative.0,
                negative_deltas: if is_float { vec![] } else { negative.1 },
                negative_counts: if is_float { negative.2 } else { vec![] },
                reset_hint,
                timestamp: times.0,
                custom_values,
                start_timestamp: times.1,
            }
        },
    )
}

pub(crate) fn label(name: &str, value: &str) -> Label {
    Label { name: name.to_owned(), value: value.to_owned() }
}

/// One series of version 1.0: labels as pairs, samples as (milliseconds, value).
pub(crate) fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    TimeSeries {
        labels: labels.iter().map(|(name, value)| label(name, value)).collect(),
        samples: samples
            .iter()
            .map(|&(timestamp, value)| WireSample { value, timestamp, start_timestamp: 0 })
            .collect(),
        ..TimeSeries::default()
    }
}

pub(crate) fn request(timeseries: Vec<TimeSeries>) -> WriteRequest {
    WriteRequest { timeseries, metadata: vec![] }
}

/// Damages `body` at places chosen by proptest: a byte more, a byte less, an end, or another byte.
pub(crate) fn damaged(mut body: Vec<u8>, damage: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (at, byte, what) in damage {
        let at = at.index(body.len() + 1);
        match what {
            0 => body.insert(at, *byte),
            1 if at < body.len() => drop(body.remove(at)),
            2 => body.truncate(at),
            _ => {
                if let Some(old) = body.get_mut(at) {
                    *old = *byte;
                }
            }
        }
    }
    body
}

/// What [`damaged`] does to a request.
pub(crate) fn any_damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..5)
}
