//! Any bytes as a remote-write request of both versions: our walk and prost agree on what is one, and on what it says.

use ingest::{IngestLimits, Rejected, RemoteWriteDecoder, Version};
use model::remote_write::{WireHistogram, WireSample, WriteRequest, from_wire, v2};
use model::{Labels, SampleValue, WriteBatch};
use prost::Message;

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
    let (mut batch, mut rejected) = (WriteBatch::new(), Rejected::default());
    let mut decoder = RemoteWriteDecoder::default();
    let limits = IngestLimits::default();
    decoder.decode_version(version, data, &limits, &mut batch, &mut rejected).ok().map(|()| (batch, rejected))
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
        .filter(|&at| !batch.get(at).1.is_empty() || !batch.full_samples(at).is_empty())
        .collect::<Vec<_>>();
    let declared: Vec<_> = declared.iter().filter(|(_, floats, others)| floats.len() + others.len() > 0).collect();
    assert_eq!(walked.len(), declared.len(), "every series with samples is walked");
    for (at, (labels, samples, histograms)) in walked.into_iter().zip(declared) {
        let (found, plain) = batch.get(at);
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
