//! The messages of Prometheus remote write 1.0 (`prometheus.WriteRequest`), for senders and tests.
//!
//! Field numbers are those of Prometheus's `prompb/remote.proto` and `prompb/types.proto`. The server's decoder
//! walks the wire format itself and lives in `ingest`. Bodies are snappy block compressed. Histograms and their
//! conversions are in `histogram`, remote write 2.0 in [`v2`], remote read in [`read`]; [`exact`] writes parts of all of
//! them without messages.

pub mod exact;
mod histogram;
pub mod read;
pub mod v2;

pub use histogram::{
    BucketSpan, REDUCIBLE_SCHEMA_MAX, WireCount, WireHistogram, WireHistogramError, WireZeroCount, from_wire,
    reset_hint_from_number, reset_hint_number, to_wire,
};
use prost::Message;

/// A request: series with samples, and metadata.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// Series, each with samples.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    /// What is known of metrics.
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<Metadata>,
}

/// One series with samples.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Labels, sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Samples in time order.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<WireSample>,
    /// Single observations, as examples.
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<WireExemplar>,
    /// Histograms in time order.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<WireHistogram>,
}

/// One label.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// One sample, of either version.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct WireSample {
    /// The value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    /// When the counter began, in milliseconds since the Unix epoch; 0 when that is not known. The number is that of
    /// version 2.0; version 1.0 leaves it free, and its receivers pass over it.
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

/// One exemplar.
#[derive(Clone, PartialEq, Message)]
pub struct WireExemplar {
    /// What identifies it.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// The observed value.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds since the Unix epoch; 0 when there is none.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// What is known of one metric.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Metadata {
    /// The kind, numbered as in [`kind_number`].
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The metric's name.
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    /// One sentence for people.
    #[prost(string, tag = "4")]
    pub help: String,
    /// The unit.
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// The number of a metric kind on the wire.
pub fn kind_number(kind: crate::MetricKind) -> i32 {
    use crate::MetricKind::{Counter, Gauge, GaugeHistogram, Histogram, Info, StateSet, Summary, Unknown};
    match kind {
        Unknown => 0,
        Counter => 1,
        Gauge => 2,
        Histogram => 3,
        GaugeHistogram => 4,
        Summary => 5,
        Info => 6,
        StateSet => 7,
    }
}

/// The metric kind with a number; unknown numbers are an unknown kind.
pub fn kind_from_number(number: i32) -> crate::MetricKind {
    crate::MetricKind::ALL.into_iter().find(|&kind| kind_number(kind) == number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_bytes_are_those_of_the_protocol() {
        let request = WriteRequest {
            timeseries: vec![TimeSeries {
                labels: vec![Label { name: "a".into(), value: "b".into() }],
                samples: vec![WireSample { value: 1.0, timestamp: 2, ..WireSample::default() }],
                ..TimeSeries::default()
            }],
            metadata: vec![],
        };
        let want = b"\x0a\x15\x0a\x06\x0a\x01a\x12\x01b\x12\x0b\x09\0\0\0\0\0\0\xf0\x3f\x10\x02";
        assert_eq!(request.encode_to_vec(), want);
        assert_eq!(WriteRequest::decode(want.as_slice()).expect("decodes"), request);
    }

    #[test]
    fn kinds_read_back() {
        for kind in crate::MetricKind::ALL {
            assert_eq!(kind_from_number(kind_number(kind)), kind);
        }
        assert_eq!(kind_from_number(99), crate::MetricKind::Unknown);
    }
}
