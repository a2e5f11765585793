//! The messages of Prometheus remote write 2.0 (`io.prometheus.write.v2.Request`), for senders and tests.
//!
//! Field numbers are those of the specification's release candidate 4. Texts are in one table that labels, help and
//! units refer to by position. Samples and histograms are those of version 1.0, with a start.

use prost::Message;

use super::{WireHistogram, WireSample};

/// What follows the media type in the `Content-Type` of a request.
pub const PROTO: &str = "io.prometheus.write.v2.Request";

/// A request.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// Texts; the first is empty.
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    /// Series, each with samples.
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

/// One series with samples or histograms.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Names and values of labels by turns, sorted by name, as positions in the symbols.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// Samples in time order.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<WireSample>,
    /// Histograms in time order.
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<WireHistogram>,
    /// Single observations, as examples.
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<Exemplar>,
    /// What is known of the metric.
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata>,
    /// When the counters of all samples began, in milliseconds since the Unix epoch, as release candidates before the
    /// fourth had it; 0 when that is not known.
    #[prost(int64, tag = "6")]
    pub created_timestamp: i64,
}

/// One exemplar.
#[derive(Clone, PartialEq, Message)]
pub struct Exemplar {
    /// Names and values of its labels by turns, as positions in the symbols.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// The observed value.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds since the Unix epoch; 0 when there is none.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// What is known of one metric.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Metadata {
    /// The kind, numbered as in [`kind_number`](super::kind_number).
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// One sentence for people, as a position in the symbols.
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    /// The unit, as a position in the symbols.
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}
