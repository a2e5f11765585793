//! The vocabulary every room shares: labels, matchers, samples, time, metadata, the contracts between engine,
//! language and ingestion, the exposition text format, the lines of exports and remote-write messages.
//!
//! Depends on no sibling. Nothing here does input or output.

pub mod budget;
pub mod capture;
pub mod control;
pub mod cursor;
pub mod exemplar;
pub mod exposition;
pub mod histogram;
pub mod json;
pub mod json_lines;
pub mod label_bytes;
pub mod label_packer;
pub mod label_sets;
pub mod labels;
pub mod matcher;
pub mod memory;
pub mod metadata;
pub mod protobuf;
pub mod re2;
pub mod remote_write;
pub mod sample;
pub mod series_limit;
pub mod sink;
pub mod source;
pub mod summary;
pub mod time;

pub use budget::{BUDGET_BYTES_MIN, Budget, BudgetError, Part};
pub use capture::CaptureKind;
pub use cursor::{KnownSeries, NoCursor, SeriesCursor};
pub use exemplar::Exemplar;
pub use histogram::{Bucket, Histogram, HistogramError, ResetHint};
pub use label_bytes::LabelBytes;
pub use label_packer::SortedPacker;
pub use label_sets::LabelSets;
pub use labels::{LabelError, LabelLimits, Labels, LabelsBuilder, LabelsRef, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use memory::MemorySeries;
pub use metadata::{MetricKind, MetricMetadata};
pub use sample::{FullSample, HistogramSample, Sample, SampleValue, Samples};
pub use series_limit::{FullLimit, LimitCause, SeriesLimit};
pub use sink::{Appended, BatchSeries, Rejection, SampleSink, SinkError, WriteBatch};
pub use source::{ReadCost, SeriesSet, SeriesSource, SourceError};
pub use summary::{Summary, window_end_ms};
pub use time::{Clock, ForwardWatch, ManualClock, SystemClock, TimeRange, TimestampMs};
