//! Any bytes as a remote-write request of both versions: our walk and prost agree on what is one, and on what it says,
//! and it says the same to a sink that knows its series already.

use ingest::{IngestLimits, Rejected, RemoteWriteDecoder, Version};
use model::remote_write::{WireHistogram, WireSample, WriteRequest, from_wire, v2};
use model::{BatchSeries, KnownSeries, Labels, LabelsRef, NoCursor, Sample, SampleValue, SeriesCursor, WriteBatch};
use prost::Message;
use storage::ids::SeriesId;
use storage::index::{Followers, Predictor, SeriesTable};

/// The decompressed body.
pub fn run(data: &[u8]) {
    if let Ok(message) = WriteRequest::decode(data) {
        let series = message.timeseries.iter().map(|series| {
            let labels = Labels::from_pairs(series.labels.iter().map(|label| (&label.name, &label.value)));
            (labels.ok(), series.samples.as_slice(), series.histograms.as_slice())
        });
        check(data, Version::V1, &series.collect::<Vec<_>>());
    } else {
        walk(data, Version::V1);
    }
    if let Ok(message) = v2::Request::decode(data) {
        let series = message.timeseries.iter().map(|series| {
            let texts: Option<Vec<&String>> =
                series.labels_refs.iter().map(|&at| message.symbols.get(usize::try_from(at).ok()?)).collect();
            let texts = texts.filter(|texts| texts.len().is_multiple_of(2)).unwrap_or_default();
            let labels = Labels::from_pairs(texts.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            (labels.ok(), series.samples.as_slice(), series.histograms.as_slice())
        });
        check(data, Version::V2, &series.collect::<Vec<_>>());
    } else {
        walk(data, Version::V2);
    }
}

/// Labels, if they are some, samples and histograms as prost reads them.
type Declared<'m> = (Option<Labels>, &'m [WireSample], &'m [WireHistogram]);

fn walk(data: &[u8], version: Version) -> Option<(WriteBatch, Rejected)> {
    let walked = walk_with(data, version, &mut NoCursor);
    if let Some((batch, rejected)) = &walked {
        check_recognised(data, version, batch, rejected);
    }
    walked
}

fn walk_with(data: &[u8], version: Version, cursor: &mut dyn SeriesCursor) -> Option<(WriteBatch, Rejected)> {
    let (mut batch, mut rejected) = (WriteBatch::new(), Rejected::default());
    let mut decoder = RemoteWriteDecoder::default();
    let limits = IngestLimits::default();
    decoder.decode(version, data, &limits, cursor, &mut batch, &mut rejected).ok().map(|()| (batch, rejected))
}

/// The storage's guesses as its cursor makes them.
#[derive(Debug)]
struct Guesses<'t>(Predictor<'t>);

impl SeriesCursor for Guesses<'_> {
    fn guess(&mut self, is_next: &mut dyn FnMut(LabelsRef<'_>) -> bool) -> Option<KnownSeries> {
        self.0.guess(is_next).map(|id| KnownSeries { number: id.0, as_of: 0 })
    }

    fn guess_run(&mut self, take: &mut dyn FnMut(KnownSeries, LabelsRef<'_>) -> bool) {
        self.0.guess_run(&mut |id, labels| take(KnownSeries { number: id.0, as_of: 0 }, labels));
    }

    fn find(&mut self, labels: LabelsRef<'_>) -> Option<KnownSeries> {
        self.0.find(labels).map(|id| KnownSeries { number: id.0, as_of: 0 })
    }
}

/// Walks the body again with all but every fifth of its series known, and then with the order known too.
fn check_recognised(data: &[u8], version: Version, batch: &WriteBatch, rejected: &Rejected) {
    let (table, followers): (SeriesTable, _) = (SeriesTable::default(), Followers::default());
    for (id, at) in (0..).zip(0..batch.series_len()) {
        let labels = labels_of(batch, at);
        if id % 5 != 4 && table.find(labels).is_none() {
            table.insert(SeriesId(id), &labels.to_owned());
        }
    }
    for _ in 0..2 {
        let mut cursor = Guesses(Predictor::new(&table, &followers));
        let (with, rejected_with) = walk_with(data, version, &mut cursor).expect("it was a request");
        assert_eq!(format!("{rejected_with:?}"), format!("{rejected:?}"));
        assert_eq!((with.series_len(), with.label_bytes()), (batch.series_len(), batch.label_bytes()));
        assert_eq!(with.metadata(), batch.metadata());
        for at in 0..batch.series_len() {
            let labels = labels_of(batch, at);
            let want = table.find(labels).map_or(BatchSeries::Labels(labels), |id| BatchSeries::Known(id.0));
            assert_eq!(with.series(at), want, "{labels}");
            assert!(same_bits(with.samples(at), batch.samples(at)), "{labels}");
            let full = |of: &WriteBatch| format!("{:?}", (of.full_samples(at), of.exemplars(at)));
            assert_eq!(full(&with), full(batch), "{labels}");
        }
    }
}

/// The labels of a series of a batch that was decoded without a sink.
fn labels_of(batch: &WriteBatch, at: usize) -> LabelsRef<'_> {
    batch.series(at).labels().expect("nobody knows numbers")
}

fn same_bits(a: &[Sample], b: &[Sample]) -> bool {
    let bits = |samples: &[Sample]| samples.iter().map(|of| (of.timestamp, of.value.to_bits())).collect::<Vec<_>>();
    bits(a) == bits(b)
}

fn check(data: &[u8], version: Version, declared: &[Declared<'_>]) {
    // The walk is stricter in places (limits, groups).
    let Some((batch, rejected)) = walk(data, version) else { return };
    let samples: usize = declared.iter().map(|(_, samples, histograms)| samples.len() + histograms.len()).sum();
    assert!(batch.samples_len() <= samples, "{} samples walked, {samples} declared", batch.samples_len());
    if !rejected.is_empty() {
        return;
    }
    // Series of nothing but exemplars may be among those walked.
    let walked = (0..batch.series_len())
        .filter(|&at| !batch.samples(at).is_empty() || !batch.full_samples(at).is_empty())
        .collect::<Vec<_>>();
    let declared: Vec<_> = declared.iter().filter(|(_, floats, others)| floats.len() + others.len() > 0).collect();
    assert_eq!(walked.len(), declared.len(), "every series with samples is walked");
    for (at, (labels, samples, histograms)) in walked.into_iter().zip(declared) {
        let (found, plain) = (labels_of(&batch, at), batch.samples(at));
        assert_eq!(labels.as_ref().map(Labels::as_ref), Some(found));
        let full = batch.full_samples(at);
        let started = full.iter().filter_map(|sample| match sample.value {
            SampleValue::Float(value) => Some((sample.timestamp_ms, value.to_bits())),
            SampleValue::Histogram(_) => None,
        });
        let mut floats: Vec<_> = plain.iter().map(|s| (s.timestamp.0, s.value.to_bits())).chain(started).collect();
        let mut want: Vec<_> = samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect();
        floats.sort_unstable();
        want.sort_unstable();
        assert_eq!(floats, want, "{found}");
        let walked = full.iter().filter_map(|sample| match &sample.value {
            SampleValue::Float(_) => None,
            SampleValue::Histogram(histogram) => Some((sample.timestamp_ms, histogram.as_ref().clone())),
        });
        let want = histograms.iter().map(|wire| (wire.timestamp, from_wire(wire).expect("none was rejected")));
        assert!(walked.eq(want), "{found}: {histograms:?}");
    }
}
