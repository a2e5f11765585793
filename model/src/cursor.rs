//! Recognising series while a request is read: what a decoder asks a sink before it decodes labels.
//!
//! A sender repeats its series in the order of its last request, so that a sink can say which series should come next.
//! The decoder compares the labels of that series with the bytes of the request as they are; where they are the same,
//! it needs no label decoded, checked, copied or hashed. A guess is never more than that: only equal labels count.

use std::fmt;

use crate::labels::LabelsRef;

/// A series that a sink knows. Means something to that sink alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownSeries {
    /// The sink's number of it.
    pub number: u32,
    /// When it was known, in the sink's own count: a series may be removed before its samples are written.
    pub as_of: u64,
}

/// The place of one request among the series of a sink.
pub trait SeriesCursor: fmt::Debug {
    /// Hands the labels of the series that should come next to `is_next`, which tells whether they are those of the
    /// request. Then that series is returned, and the cursor stands behind it. There may be several guesses, or none.
    fn guess(&mut self, is_next: &mut dyn FnMut(LabelsRef<'_>) -> bool) -> Option<KnownSeries>;

    /// Guesses on and on, without looking back: hands guess after guess to `take` for as long as that says that it was the
    /// series of the request, and took it. The cursor stands behind the last one that was. `take` must not use the sink.
    /// Where this ends says nothing: [`guess`](Self::guess) may still be right. A cursor need not do it at all.
    fn guess_run(&mut self, take: &mut dyn FnMut(KnownSeries, LabelsRef<'_>) -> bool) {
        let _ = take;
    }

    /// The series of `labels`, which no guess was right about, if the sink knows it; the cursor stands behind it then,
    /// and will guess better next time.
    fn find(&mut self, labels: LabelsRef<'_>) -> Option<KnownSeries>;
}

/// The cursor of a sink that recognises nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCursor;

impl SeriesCursor for NoCursor {
    fn guess(&mut self, _: &mut dyn FnMut(LabelsRef<'_>) -> bool) -> Option<KnownSeries> {
        None
    }

    fn find(&mut self, _: LabelsRef<'_>) -> Option<KnownSeries> {
        None
    }
}
