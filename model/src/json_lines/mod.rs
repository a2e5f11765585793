//! Lines of JSON that carry samples from one database into another: what `/api/v1/export` answers and imports read.
//!
//! A line is one object: the labels of a series, and a run of its samples as columns. Its shape is that of
//! VictoriaMetrics's export, so that either side reads the lines of the other; what that shape cannot say stands under
//! keys of its own, which other readers pass over.
//!
//! ```text
//! {"metric":{"__name__":"up","job":"a"},"values":[1,0.5],"timestamps":[1000,3000],"nans":[[2000,"stale"]]}
//!
//! metric      labels, all texts
//! values      numbers. Infinite ones are "Infinity" and "-Infinity", and stand on lines of their own
//! timestamps  milliseconds since the Unix epoch, one a value
//! starts      when the counter of each value began, in milliseconds, 0 where that is not known
//! nans        [[timestamp,WHAT],…] or [timestamp,WHAT,start]: the values that are no numbers; WHAT is "stale" for the
//!             stale marker, null for the NaN of calculations, "nan:BITS" for any other
//! histograms  native histograms, see below
//! metadata    [{"metric":"up","type":"gauge","unit":"","help":"…"}]: what is known of metrics
//! begin, end  the marks of an export, on lines without samples: {"version":1}; what the lines between them held
//! ```
//!
//! A histogram has `timestamp`, `start`, `schema`, `reset`, `count`, `sum`, `zero_threshold`, `zero_count`, `positive`
//! and `negative` as `[[index,count],…]`, and `bounds`; what is zero or empty is left out. Its numbers are those of
//! `values` or `nans`.
//!
//! Readers also take numbers as others write them: null, `NaN`, `+Inf` and the like, in quotes or not, among values.
//!
//! [`write`](mod@write) and [`parse`] are exact inverses over everything the engine keeps. Reading a line needs memory
//! for it and for its columns; who reads bounds its length by [`LINE_BYTES_MAX`]. Where lines come from, and what
//! becomes of them, is the business of the callers.

mod cursor;
pub mod parse;
pub mod write;

pub use parse::{Line, LineReader, ParseError, Problem};
pub use write::{write_begin, write_end, write_series};

/// Longest line, in bytes without its end: some months of one series at an interval of seconds.
pub const LINE_BYTES_MAX: usize = 64 << 20;
/// Most samples of one line.
pub const LINE_SAMPLES_MAX: usize = 4 << 20;
/// Most native histograms of one line.
pub const LINE_HISTOGRAMS_MAX: usize = 64 << 10;
/// Most metrics that one line describes.
pub const LINE_METADATA_MAX: usize = 16;
/// Most labels of one line.
pub const LINE_LABELS_MAX: usize = 128;
/// The version that [`write_begin`] writes and readers know.
pub const VERSION: u64 = 1;
/// The metric that marks stand under. A mark has no samples, so nothing is ever stored of it.
pub const MARK_METRIC: &str = "metrickit_export";

/// The bits of the NaN that `null` stands for: the one that Go, and so the field, calculates with.
pub const NULL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// What an export held, as its last line tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Series with samples.
    pub series: u64,
    /// Samples, histograms included.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Chunks that are damaged in the source and so were left out.
    pub chunks_lost: u64,
}

/// The ends of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// An export begins; one without its end was cut off.
    Begin,
    /// It ends, and held this.
    End(Counts),
}
