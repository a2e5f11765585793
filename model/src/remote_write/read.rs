//! The messages of Prometheus remote read (`prometheus.ReadRequest` and what answers it).
//!
//! Field numbers are those of `prompb/remote.proto` and `prompb/types.proto`. What a chunk holds is Prometheus's own
//! storage format and is not spoken here; the messages around it are. Bodies are snappy block compressed, frames of a
//! streamed answer are not.

use prost::Message;

use super::{Label, TimeSeries};

/// A request: some queries, and the kinds of answer that the client understands.
#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    /// The queries.
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// [`ResponseType`] numbers, the liked best first; none stands for [`ResponseType::Samples`].
    #[prost(enumeration = "ResponseType", repeated, tag = "2")]
    pub accepted_response_types: Vec<i32>,
}

/// A kind of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ResponseType {
    /// One [`ReadResponse`], with samples.
    Samples = 0,
    /// Frames of [`ChunkedReadResponse`], each after its length as a varint and its CRC-32C as a big-endian u32.
    StreamedXorChunks = 1,
}

/// The answer [`ResponseType::Samples`].
#[derive(Clone, PartialEq, Message)]
pub struct ReadResponse {
    /// One a query, in the order of the queries.
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<QueryResult>,
}

/// Asks for the series that all matchers match.
#[derive(Clone, PartialEq, Message)]
pub struct Query {
    /// The first millisecond asked for, since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub start_timestamp_ms: i64,
    /// The last one.
    #[prost(int64, tag = "2")]
    pub end_timestamp_ms: i64,
    /// What the labels are to be.
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
    /// What the client will do with the samples.
    #[prost(message, optional, tag = "4")]
    pub hints: Option<ReadHints>,
}

/// The series of one query.
#[derive(Clone, PartialEq, Message)]
pub struct QueryResult {
    /// Series sorted by labels, each with its samples in time order.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// What one label is to be.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LabelMatcher {
    /// A [`MatcherType`] number.
    #[prost(enumeration = "MatcherType", tag = "1")]
    pub r#type: i32,
    /// The label's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// What its value is compared with.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// How a label's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MatcherType {
    /// `=`.
    Equal = 0,
    /// `!=`.
    NotEqual = 1,
    /// `=~`.
    Regex = 2,
    /// `!~`.
    NotRegex = 3,
}

impl MatcherType {
    /// The operator.
    pub fn op(self) -> crate::MatchOp {
        match self {
            Self::Equal => crate::MatchOp::Equal,
            Self::NotEqual => crate::MatchOp::NotEqual,
            Self::Regex => crate::MatchOp::Regex,
            Self::NotRegex => crate::MatchOp::NotRegex,
        }
    }
}

/// What the client will do with the samples. It may be left out of account.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReadHints {
    /// The step of the client's query, in milliseconds.
    #[prost(int64, tag = "1")]
    pub step_ms: i64,
    /// The function or aggregation around the selector.
    #[prost(string, tag = "2")]
    pub func: String,
    /// The first millisecond, since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub start_ms: i64,
    /// The last one.
    #[prost(int64, tag = "4")]
    pub end_ms: i64,
    /// Labels of the aggregation.
    #[prost(string, repeated, tag = "5")]
    pub grouping: Vec<String>,
    /// Whether the aggregation keeps these labels, rather than all others.
    #[prost(bool, tag = "6")]
    pub by: bool,
    /// The range of the selector, in milliseconds.
    #[prost(int64, tag = "7")]
    pub range_ms: i64,
}

/// One frame of the answer [`ResponseType::StreamedXorChunks`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ChunkedReadResponse {
    /// Parts of series, each series after the other.
    #[prost(message, repeated, tag = "1")]
    pub chunked_series: Vec<ChunkedSeries>,
    /// The query that this answers, counted from 0.
    #[prost(int64, tag = "2")]
    pub query_index: i64,
}

/// A part of one series.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ChunkedSeries {
    /// Labels, sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Chunks by their first timestamp.
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

/// Coded samples.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Chunk {
    /// The first timestamp, in milliseconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub min_time_ms: i64,
    /// The last one.
    #[prost(int64, tag = "2")]
    pub max_time_ms: i64,
    /// A [`ChunkEncoding`] number.
    #[prost(enumeration = "ChunkEncoding", tag = "3")]
    pub r#type: i32,
    /// The coded samples.
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

/// How a chunk's samples are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ChunkEncoding {
    /// Not told.
    Unknown = 0,
    /// Floats.
    Xor = 1,
    /// Histograms with whole counts.
    Histogram = 2,
    /// Histograms with float counts.
    FloatHistogram = 3,
}
