//! Readings as pieces of remote-write 1.0 requests, with the agent's own labels added.

use model::remote_write::{Label, TimeSeries, WireSample, WriteRequest};
use model::{LabelsRef, Sample};
use prost::Message;

use crate::readings::Readings;

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

/// Encodes `readings` into pieces of at most `samples_max` samples.
pub fn encode(readings: &Readings, external: &External, samples_max: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut series: Vec<TimeSeries> = Vec::new();
    let mut samples = 0;
    for (labels, run) in readings.iter() {
        if samples + run.len() > samples_max && samples > 0 {
            pieces.push(piece(std::mem::take(&mut series), samples));
            samples = 0;
        }
        samples += run.len();
        series.push(time_series(labels, run, external));
    }
    if samples > 0 {
        pieces.push(piece(series, samples));
    }
    pieces
}

fn time_series(labels: LabelsRef<'_>, samples: &[Sample], external: &External) -> TimeSeries {
    let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    TimeSeries {
        labels: external.added_to(labels).into_iter().map(label).collect(),
        samples: samples
            .iter()
            .map(|sample| WireSample { value: sample.value, timestamp: sample.timestamp.0, ..WireSample::default() })
            .collect(),
        ..TimeSeries::default()
    }
}

fn piece(timeseries: Vec<TimeSeries>, samples: usize) -> Piece {
    let request = WriteRequest { timeseries, metadata: Vec::new() };
    Piece { payload: compress(&request.encode_to_vec()), samples: u32::try_from(samples).unwrap_or(u32::MAX) }
}

/// A snappy block.
///
/// # Panics
///
/// When `bytes` is longer than 4 GiB, which no request is.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("requests are far shorter than snappy's 4 GiB")
}

/// The bytes of a snappy block, at most `bytes_max`; nothing when it is damaged or longer.
pub fn decompress(block: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    snap::raw::decompress_len(block).ok().filter(|length| *length <= bytes_max)?;
    snap::raw::Decoder::new().decompress_vec(block).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external() -> External {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        External::new(vec![pair("zone", "z"), pair("env", "prod"), pair("empty", ""), pair("job", "never")])
    }

    #[test]
    fn external_labels_are_added_in_order_and_never_replace() {
        let mut readings = Readings::new(9);
        readings.push_named("m", &[("job", "own"), ("q", "1")], 1.5);
        let pieces = encode(&readings, &external(), 100);
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
        let pieces = encode(&readings, &External::default(), 3);
        assert_eq!(pieces.iter().map(|piece| piece.samples).collect::<Vec<_>>(), [3, 3, 1]);
        let joined: Vec<u8> =
            pieces.iter().flat_map(|piece| decompress(&piece.payload, 1 << 20).expect("snappy")).collect();
        assert_eq!(WriteRequest::decode(joined.as_slice()).expect("protobuf").timeseries.len(), 7);
        assert!(decompress(&pieces[0].payload, 5).is_none(), "the bound holds");
        assert!(encode(&Readings::new(1), &External::default(), 3).is_empty());
    }
}
