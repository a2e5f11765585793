//! What a log record holds: new series, samples in columns, metadata, samples that are more than a float, exemplars.
//!
//! Sections one after the other, each a tag and a count, in the order they must be applied. A column of samples is
//! written as runs: ids that follow each other and timestamps that differ by the same step cost next to nothing, and
//! values leave out the zero bytes at the end of their bits, so that small whole numbers take two to four bytes.
#![warn(clippy::indexing_slicing)]

mod read;

use std::sync::Arc;

use model::{Exemplar, LabelsRef, MetricKind, MetricMetadata};

use crate::ids::SeriesId;
pub use read::{PayloadError, PayloadReader, Section};

const TAG_SERIES: u8 = 1;
const TAG_SAMPLES: u8 = 2;
const TAG_METADATA: u8 = 3;
const TAG_FULL_SAMPLES: u8 = 4;
const TAG_EXEMPLARS: u8 = 5;
/// Most rows one section may claim; the encoder stays below by splitting, the decoder refuses more.
pub const SECTION_ROWS_MAX: usize = 1 << 20;

/// Samples of many series as three columns of equal length.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct SampleColumns {
    /// The series of each sample.
    pub ids: Vec<u32>,
    /// Milliseconds since the Unix epoch.
    pub timestamps_ms: Vec<i64>,
    /// The values' bits.
    pub values: Vec<f64>,
}

impl SampleColumns {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// For how many samples there is memory.
    pub fn capacity(&self) -> usize {
        self.ids.capacity().max(self.timestamps_ms.capacity()).max(self.values.capacity())
    }

    /// Makes room for so many more samples.
    pub fn reserve(&mut self, samples: usize) {
        self.ids.reserve(samples);
        self.timestamps_ms.reserve(samples);
        self.values.reserve(samples);
    }

    /// Empties the columns, keeps their memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.timestamps_ms.clear();
        self.values.clear();
    }

    /// Adds one sample.
    pub fn push(&mut self, id: SeriesId, timestamp_ms: i64, value: f64) {
        self.ids.push(id.0);
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }
}

/// A sample that is more than a float, of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullRow {
    /// Its series.
    pub id: SeriesId,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Value and start, coded by [`full`](crate::codec::full).
    pub bytes: Arc<[u8]>,
}

impl FullRow {
    /// Whether it is a histogram, else a float.
    pub fn is_histogram(&self) -> bool {
        self.bytes.first().is_some_and(|flags| flags & 1 == 1)
    }
}

/// Appends the section of new series.
pub fn push_series<'a>(out: &mut Vec<u8>, series: impl ExactSizeIterator<Item = (SeriesId, LabelsRef<'a>)>) {
    out.push(TAG_SERIES);
    push_varint(out, series.len() as u64);
    for (id, labels) in series {
        push_varint(out, u64::from(id.0));
        push_text(out, labels.packed());
    }
}

/// Appends the section of metadata.
pub fn push_metadata<'a>(out: &mut Vec<u8>, metadata: impl ExactSizeIterator<Item = (&'a str, &'a MetricMetadata)>) {
    out.push(TAG_METADATA);
    push_varint(out, metadata.len() as u64);
    for (metric, metadata) in metadata {
        push_text(out, metric);
        let kind = MetricKind::ALL.iter().position(|&kind| kind == metadata.kind).unwrap_or(0);
        push_varint(out, kind as u64);
        push_text(out, &metadata.unit);
        push_text(out, &metadata.help);
    }
}

/// Appends the section of samples; the three columns have equal length.
pub fn push_samples(out: &mut Vec<u8>, ids: &[u32], timestamps_ms: &[i64], values: &[f64]) {
    debug_assert!(ids.len() == timestamps_ms.len() && ids.len() == values.len(), "columns of one table");
    out.push(TAG_SAMPLES);
    push_varint(out, ids.len() as u64);
    push_ids(out, ids);
    push_timestamps(out, timestamps_ms);
    push_values(out, values);
}

/// Appends the section of samples that are more than a float.
pub fn push_full_samples(out: &mut Vec<u8>, rows: &[FullRow]) {
    out.push(TAG_FULL_SAMPLES);
    push_varint(out, rows.len() as u64);
    let mut key = Key::default();
    for row in rows {
        key.push(out, row.id, row.timestamp_ms);
        push_varint(out, row.bytes.len() as u64);
        out.extend_from_slice(&row.bytes);
    }
}

/// Appends the section of exemplars.
pub fn push_exemplars(out: &mut Vec<u8>, rows: &[(SeriesId, Exemplar)]) {
    out.push(TAG_EXEMPLARS);
    push_varint(out, rows.len() as u64);
    let mut key = Key::default();
    for (id, exemplar) in rows {
        key.push(out, *id, exemplar.timestamp_ms);
        out.extend_from_slice(&exemplar.value.to_le_bytes());
        push_text(out, exemplar.labels.as_ref().packed());
    }
}

/// Series and timestamp of a row, coded against those of the row before.
#[derive(Debug, Default)]
struct Key {
    id: u32,
    timestamp_ms: i64,
}

impl Key {
    fn push(&mut self, out: &mut Vec<u8>, id: SeriesId, timestamp_ms: i64) {
        push_varint(out, zigzag(i64::from(id.0) - i64::from(self.id)));
        push_varint(out, zigzag(timestamp_ms.wrapping_sub(self.timestamp_ms)));
        *self = Self { id: id.0, timestamp_ms };
    }
}

/// Runs of ids that follow each other: the gap to the expected next id, and how many more follow.
fn push_ids(out: &mut Vec<u8>, ids: &[u32]) {
    let mut expected = 0u32;
    for run in ids.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        let (Some(&first), Some(&last)) = (run.first(), run.last()) else { continue };
        push_varint(out, zigzag(i64::from(first) - i64::from(expected)));
        push_varint(out, run.len() as u64 - 1);
        expected = last.wrapping_add(1);
    }
}

/// Runs of equal steps: the step from the timestamp before, and how many more steps are the same.
fn push_timestamps(out: &mut Vec<u8>, timestamps_ms: &[i64]) {
    let mut before = 0i64;
    let mut run: Option<(i64, u64)> = None;
    for &timestamp_ms in timestamps_ms {
        let step = timestamp_ms.wrapping_sub(before);
        before = timestamp_ms;
        run = match run {
            Some((same, more)) if same == step => Some((same, more + 1)),
            other => {
                push_run(out, other);
                Some((step, 0))
            }
        };
    }
    push_run(out, run);
}

fn push_run(out: &mut Vec<u8>, run: Option<(i64, u64)>) {
    if let Some((step, more)) = run {
        push_varint(out, zigzag(step));
        push_varint(out, more);
    }
}

/// Two lengths to a byte, low half first, then the leading bytes of each value, most significant first.
fn push_values(out: &mut Vec<u8>, values: &[f64]) {
    let kept_bytes = |value: f64| 8 - (value.to_bits() | 1 << 63).trailing_zeros() / 8;
    // The bit that is set above makes zero keep one byte; sign-only and zero values are told apart by that byte.
    for pair in values.chunks(2) {
        let low = pair.first().map_or(0, |&value| kept_bytes(value));
        let high = pair.get(1).map_or(0, |&value| kept_bytes(value));
        out.push(u8::try_from(low | high << 4).expect("lengths are at most 8"));
    }
    // All eight bytes are written, and the next value begins where what is kept of them ends.
    let mut at = out.len();
    out.resize(at + 8 * values.len(), 0);
    for &value in values {
        if let Some(to) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *to = value.to_bits().to_be_bytes();
        }
        at += kept_bytes(value) as usize;
    }
    out.truncate(at);
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    push_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value.to_le_bytes()[0] | 128);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::full;
    use model::{FullSample, Labels, SampleValue};
    use proptest::prelude::*;

    fn round_trip(columns: &SampleColumns) -> usize {
        let mut bytes = Vec::new();
        push_samples(&mut bytes, &columns.ids, &columns.timestamps_ms, &columns.values);
        let mut reader = PayloadReader::new(&bytes, SampleColumns::default());
        assert!(matches!(reader.next_section(), Ok(Some(Section::Samples))));
        assert_eq!(reader.samples.ids, columns.ids);
        assert_eq!(reader.samples.timestamps_ms, columns.timestamps_ms);
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&reader.samples.values), bits(&columns.values));
        assert!(matches!(reader.next_section(), Ok(None)));
        bytes.len()
    }

    #[test]
    fn a_scrape_takes_few_bytes_a_sample() {
        let mut columns = SampleColumns::default();
        for id in 0..1000 {
            columns.push(SeriesId(7000 + id), 1_700_000_000_000, f64::from(id * 37 % 500));
        }
        let bytes = round_trip(&columns);
        assert!(bytes < 4 * columns.len(), "{bytes} bytes for {} samples", columns.len());
    }

    #[test]
    fn series_and_metadata_round_trip() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]).expect("valid labels");
        let about = MetricMetadata { kind: MetricKind::Gauge, unit: "bytes".into(), help: "äöü".into() };
        let mut bytes = Vec::new();
        push_series(&mut bytes, [(SeriesId(u32::MAX), labels.as_ref())].into_iter());
        push_metadata(&mut bytes, [("up", &about)].into_iter());
        let mut reader = PayloadReader::new(&bytes, SampleColumns::default());
        let Ok(Some(Section::Series(series))) = reader.next_section() else { panic!("series come first") };
        assert_eq!(series, [(SeriesId(u32::MAX), labels.as_ref())]);
        let Ok(Some(Section::Metadata(metadata))) = reader.next_section() else { panic!("metadata comes next") };
        assert_eq!(metadata, [("up", about)]);
    }

    #[test]
    fn full_samples_and_exemplars_round_trip() {
        let row = |id, timestamp_ms, start_ms| {
            let sample = FullSample { timestamp_ms, start_ms, value: SampleValue::Float(0.5) };
            let mut bytes = Vec::new();
            full::encode(&sample, &mut bytes);
            FullRow { id: SeriesId(id), timestamp_ms, bytes: bytes.into() }
        };
        let rows = [row(7, i64::MIN, 0), row(0, i64::MAX, 5), row(u32::MAX, -1, i64::MIN)];
        let labels = Labels::from_pairs([("trace_id", "ab")]).expect("valid labels");
        let exemplars = [(SeriesId(3), Exemplar { labels, value: f64::NAN, timestamp_ms: -9 })];
        let mut bytes = Vec::new();
        push_full_samples(&mut bytes, &rows);
        push_exemplars(&mut bytes, &exemplars);
        let mut reader = PayloadReader::new(&bytes, SampleColumns::default());
        let Ok(Some(Section::FullSamples(got))) = reader.next_section() else { panic!("samples come first") };
        assert_eq!(got, rows);
        let Ok(Some(Section::Exemplars(got))) = reader.next_section() else { panic!("exemplars come next") };
        assert_eq!(got, exemplars);
        assert!(matches!(reader.next_section(), Ok(None)));
        for cut in 1..bytes.len() {
            let mut reader = PayloadReader::new(bytes.get(..cut).unwrap(), SampleColumns::default());
            while let Ok(Some(_)) = reader.next_section() {}
        }
    }

    proptest! {
        #[test]
        fn any_columns_round_trip(rows in prop::collection::vec((any::<u32>(), any::<i64>(), any::<u64>()), 0..60)) {
            let mut columns = SampleColumns::default();
            for (id, timestamp_ms, bits) in rows {
                // Values with trailing zero bytes too, zero and minus zero among them.
                let cut = bits.trailing_ones().min(8) * 8;
                columns.push(SeriesId(id), timestamp_ms, f64::from_bits(bits.checked_shl(cut).unwrap_or(0)));
            }
            round_trip(&columns);
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), tag in 1u8..6) {
            let bytes = [&[tag], &bytes[..]].concat();
            let mut reader = PayloadReader::new(&bytes, SampleColumns::default());
            while let Ok(Some(_)) = reader.next_section() {}
        }
    }
}
