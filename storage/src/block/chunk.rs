//! What a chunk's bytes are, by its tag: plain floats, floats with starts, histograms, or summaries, of which the latest
//! values are read here.
//!
//! Owns the cutting of a series of several kinds into chunks of one each. The codings are
//! [`codec`](crate::codec)'s.

use std::ops::Range;

use model::Samples;

use crate::codec::histogram_column::{self, HistogramEncoder, front_run};
use crate::codec::values::{self, ValueCoding, ValueEncoder};
use crate::codec::{CodecError, Effort, started_column};
use crate::summary;

/// Appends the samples `wanted` of the chunk at `times` to `into`. After a failure `into` may hold some more of any
/// column.
pub(super) fn decode(
    tag: u8,
    bytes: &[u8],
    times: &[i64],
    wanted: Range<usize>,
    into: &mut Samples,
) -> Result<(), CodecError> {
    if tag == histogram_column::TAG {
        return histogram_column::decode(bytes, times, wanted, &mut into.histograms);
    }
    let start = into.values.len();
    if tag == started_column::TAG {
        let starts_ms = started_column::decode(bytes, times.len(), &mut into.values)?;
        into.starts_ms.resize(start, 0);
        into.starts_ms.extend_from_slice(starts_ms.get(wanted.clone()).unwrap_or_default());
        into.values.truncate(start + wanted.end);
        into.values.drain(start..start + wanted.start);
    } else {
        if tag == summary::column::TAG {
            summary::column::decode_last(bytes, times.len(), &mut into.values)?;
            into.values.truncate(start + wanted.end);
            into.values.drain(start..start + wanted.start);
        } else {
            let coding = ValueCoding::from_tag(tag)?;
            values::decode_part(coding, bytes, times.len(), wanted.clone(), &mut into.values)?;
        }
        if !into.starts_ms.is_empty() {
            into.starts_ms.resize(start + wanted.len(), 0);
        }
    }
    into.timestamps_ms.extend_from_slice(times.get(wanted).unwrap_or_default());
    Ok(())
}

/// The name of [`summary::column`] for people.
pub(crate) const SUMMARIES: &str = "summaries";

/// The name of a chunk's coding for people.
pub(super) fn name(tag: u8) -> &'static str {
    match tag {
        histogram_column::TAG => "histogram columns",
        started_column::TAG => "floats with starts",
        summary::column::TAG => SUMMARIES,
        _ => ValueCoding::from_tag(tag).map_or("unknown", ValueCoding::name),
    }
}

/// Encodes chunks of series that have more than plain floats; keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct FullEncoder {
    histograms: HistogramEncoder,
}

/// Where the next chunk of a series begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) float: usize,
    pub(super) histogram: usize,
}

impl FullEncoder {
    /// Encodes samples of one kind from `place` on, at most `most` of both kinds together, into `out`, and moves
    /// `place` behind them. Returns their number and the tag.
    pub(super) fn encode_front(
        &mut self,
        samples: &Samples,
        place: &mut Place,
        most: usize,
        (values, effort): (&mut ValueEncoder, Effort),
        out: &mut Vec<u8>,
    ) -> (usize, u8) {
        let floats = samples.timestamps_ms.get(place.float..).unwrap_or_default();
        let histograms = samples.histograms.get(place.histogram..).unwrap_or_default();
        let float_ms = floats.first().copied();
        let histogram_ms = histograms.first().map(|sample| sample.timestamp_ms);
        let histograms_first = histogram_ms.is_some_and(|histogram_ms| float_ms.is_none_or(|at| histogram_ms < at));
        if histograms_first {
            let end = histograms.partition_point(|sample| float_ms.is_none_or(|at| sample.timestamp_ms < at));
            let alike = histograms.get(..end.min(most)).unwrap_or_default();
            let run = front_run(alike);
            self.histograms.encode(alike, &run, effort, out);
            place.histogram += run.count;
            return (run.count, histogram_column::TAG);
        }
        let count =
            floats.partition_point(|&at_ms| histogram_ms.is_none_or(|histogram_ms| at_ms < histogram_ms)).min(most);
        let range = place.float..place.float + count;
        place.float += count;
        let numbers = samples.values.get(range.clone()).unwrap_or_default();
        let starts_ms = samples.starts_ms.get(range).unwrap_or_default();
        if starts_ms.iter().all(|&start_ms| start_ms == 0) {
            return (count, values.encode(numbers, effort, out).tag());
        }
        started_column::encode(values, numbers, starts_ms, effort, out);
        (count, started_column::TAG)
    }
}
