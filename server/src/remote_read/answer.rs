//! The bytes of remote read's two kinds of answer.
//!
//! Messages are coded series by series: a protobuf message with a repeated field is its parts one after the other.

use model::remote_write::read::{Chunk, ChunkedReadResponse, ChunkedSeries};
use model::remote_write::{Label, exact};
use model::{Labels, Samples};
use prost::Message as _;

use crate::chunk::chunks;
use crate::reading::Reading;
use crate::reply::{ApiError, ErrorKind};
use crate::stream::Pieces;

/// Bytes of chunks after which a frame is closed, as in Prometheus; a long series takes several.
const FRAME_BYTES: usize = 1 << 20;

/// Fields of `ReadResponse`, `QueryResult` and `TimeSeries`.
mod field {
    pub(super) const RESULTS: u32 = 1;
    pub(super) const TIMESERIES: u32 = 1;
    pub(super) const LABELS: u32 = 1;
    pub(super) const SAMPLES: u32 = 2;
    pub(super) const HISTOGRAMS: u32 = 4;
}

/// An answer of the kind `SAMPLES` under construction.
#[derive(Debug, Default)]
pub(super) struct ReadBytes {
    message: Vec<u8>,
    /// The results of the query that is being answered.
    result: Vec<u8>,
    /// The series that is being added.
    series: Vec<u8>,
}

impl ReadBytes {
    /// Adds a series; its bytes before compression are held by `reading`.
    pub(super) fn push_series(
        &mut self,
        labels: &Labels,
        samples: &Samples,
        reading: &Reading,
    ) -> Result<(), ApiError> {
        self.series.clear();
        exact::push_labels(&mut self.series, field::LABELS, labels.as_ref());
        for sample in samples.iter() {
            exact::push_sample(&mut self.series, field::SAMPLES, sample.timestamp.0, sample.value, 0);
        }
        for of in &samples.histograms {
            exact::push_histogram(&mut self.series, field::HISTOGRAMS, &of.histogram, of.timestamp_ms, 0);
        }
        // With its key and its length.
        reading.hold(1 + prost::length_delimiter_len(self.series.len()) + self.series.len())?;
        exact::push_bytes(&mut self.result, field::TIMESERIES, &self.series);
        Ok(())
    }

    pub(super) fn end_query(&mut self) {
        exact::push_bytes(&mut self.message, field::RESULTS, &self.result);
        self.result.clear();
    }

    /// The answer as one snappy block.
    pub(super) fn finish(self) -> Result<Vec<u8>, ApiError> {
        snap::raw::Encoder::new().compress_vec(&self.message).map_err(internal)
    }
}

/// Makes the frames that answer one query: the length of a message as a varint, its CRC-32C as a big-endian u32, and
/// the message.
#[derive(Debug)]
pub(super) struct Frames {
    query_index: i64,
    message: Vec<u8>,
}

impl Frames {
    pub(super) fn new(query_index: usize) -> Self {
        Self { query_index: i64::try_from(query_index).unwrap_or(i64::MAX), message: Vec::new() }
    }

    /// Sends a series in as many frames as it takes.
    pub(super) fn push_series(
        &mut self,
        labels: &Labels,
        samples: &Samples,
        pieces: &mut Pieces,
    ) -> Result<(), ApiError> {
        let labels = wire_labels(labels);
        let mut waiting = Vec::new();
        let mut bytes = 0;
        for chunk in chunks(samples) {
            bytes += chunk.data.len();
            waiting.push(chunk);
            if bytes >= FRAME_BYTES {
                self.push_frame(&labels, std::mem::take(&mut waiting), pieces)?;
                bytes = 0;
            }
        }
        if waiting.is_empty() { Ok(()) } else { self.push_frame(&labels, waiting, pieces) }
    }

    fn push_frame(&mut self, labels: &[Label], chunks: Vec<Chunk>, pieces: &mut Pieces) -> Result<(), ApiError> {
        let series = ChunkedSeries { labels: labels.to_vec(), chunks };
        let message = ChunkedReadResponse { chunked_series: vec![series], query_index: self.query_index };
        self.message.clear();
        message.encode(&mut self.message).map_err(internal)?;
        prost::encode_length_delimiter(self.message.len(), &mut pieces.ready).map_err(internal)?;
        pieces.ready.extend_from_slice(&crc32c::crc32c(&self.message).to_be_bytes());
        pieces.ready.extend_from_slice(&self.message);
        pieces.go_on()
    }
}

fn wire_labels(labels: &Labels) -> Vec<Label> {
    labels.as_ref().iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect()
}

fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorKind::Internal, error.to_string())
}
