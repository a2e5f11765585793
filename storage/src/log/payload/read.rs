//! Reads what a record holds; takes any bytes, and holds no more than what they declare within bounds.

use model::{Exemplar, LabelsRef, MetricKind, MetricMetadata};

use super::{
    FullRow, Key, SECTION_ROWS_MAX, SampleColumns, TAG_EXEMPLARS, TAG_FULL_SAMPLES, TAG_METADATA, TAG_SAMPLES,
    TAG_SERIES, unzigzag,
};
use crate::codec::full;
use crate::ids::SeriesId;

/// What a section of a payload is, in the order of the payload.
#[derive(Debug)]
pub enum Section<'a> {
    /// New series.
    Series(Vec<(SeriesId, LabelsRef<'a>)>),
    /// Samples, in the reader's columns.
    Samples,
    /// Metadata by metric name.
    Metadata(Vec<(&'a str, MetricMetadata)>),
    /// Samples that are more than a float; their bytes can be decoded.
    FullSamples(Vec<FullRow>),
    /// Exemplars by series.
    Exemplars(Vec<(SeriesId, Exemplar)>),
}

/// Why a payload whose checksum held cannot be read: it was written by another program, or by a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record payload is no batch: {what} at byte {at_byte}")]
#[expect(missing_docs, reason = "the message names every field")]
pub struct PayloadError {
    pub what: &'static str,
    pub at_byte: usize,
}

/// Reads the sections of a payload one by one.
#[derive(Debug)]
pub struct PayloadReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The samples of the section read last, if it was one of samples.
    pub samples: SampleColumns,
}

impl<'a> PayloadReader<'a> {
    /// A reader at the start of `payload`. `samples` is memory to reuse.
    pub fn new(payload: &'a [u8], samples: SampleColumns) -> Self {
        Self { bytes: payload, at: 0, samples }
    }

    /// The next section, or nothing at the end.
    ///
    /// # Errors
    ///
    /// When the bytes are no section.
    pub fn next_section(&mut self) -> Result<Option<Section<'a>>, PayloadError> {
        let Some(&tag) = self.bytes.get(self.at) else { return Ok(None) };
        self.at += 1;
        let count = self.varint()?;
        let rows = usize::try_from(count).ok().filter(|&rows| rows <= SECTION_ROWS_MAX);
        let rows = rows.ok_or_else(|| self.error("too many rows"))?;
        match tag {
            TAG_SERIES => self.series(rows).map(Section::Series).map(Some),
            TAG_SAMPLES => self.read_samples(rows).map(|()| Some(Section::Samples)),
            TAG_METADATA => self.metadata(rows).map(Section::Metadata).map(Some),
            TAG_FULL_SAMPLES => self.full_samples(rows).map(Section::FullSamples).map(Some),
            TAG_EXEMPLARS => self.exemplars(rows).map(Section::Exemplars).map(Some),
            _ => Err(self.error("unknown section")),
        }
    }

    fn series(&mut self, rows: usize) -> Result<Vec<(SeriesId, LabelsRef<'a>)>, PayloadError> {
        let mut series = Vec::with_capacity(rows.min(4096));
        for _ in 0..rows {
            let id = u32::try_from(self.varint()?).map_err(|_| self.error("series id above 32 bits"))?;
            let labels = LabelsRef::from_packed(self.text()?).map_err(|_| self.error("damaged labels"))?;
            series.push((SeriesId(id), labels));
        }
        Ok(series)
    }

    fn metadata(&mut self, rows: usize) -> Result<Vec<(&'a str, MetricMetadata)>, PayloadError> {
        let mut metadata = Vec::with_capacity(rows.min(4096));
        for _ in 0..rows {
            let metric = self.text()?;
            let kind = usize::try_from(self.varint()?).ok().and_then(|kind| MetricKind::ALL.get(kind).copied());
            let kind = kind.ok_or_else(|| self.error("unknown metric kind"))?;
            let unit = self.text()?.to_owned();
            metadata.push((metric, MetricMetadata { kind, unit, help: self.text()?.to_owned() }));
        }
        Ok(metadata)
    }

    fn full_samples(&mut self, rows: usize) -> Result<Vec<FullRow>, PayloadError> {
        let mut samples = Vec::with_capacity(rows.min(4096));
        let mut key = Key::default();
        for _ in 0..rows {
            let id = key.take(self)?;
            let count = usize::try_from(self.varint()?).map_err(|_| self.error("sample too long"))?;
            let bytes = self.take(count)?;
            // Nothing that cannot be flushed gets into the head.
            full::decode(key.timestamp_ms, bytes).map_err(|_| self.error("damaged sample"))?;
            samples.push(FullRow { id, timestamp_ms: key.timestamp_ms, bytes: bytes.into() });
        }
        Ok(samples)
    }

    fn exemplars(&mut self, rows: usize) -> Result<Vec<(SeriesId, Exemplar)>, PayloadError> {
        let mut exemplars = Vec::with_capacity(rows.min(4096));
        let mut key = Key::default();
        for _ in 0..rows {
            let id = key.take(self)?;
            let raw = self.take(8)?.first_chunk().copied().unwrap_or_default();
            let labels = LabelsRef::from_packed(self.text()?).map_err(|_| self.error("damaged labels"))?.to_owned();
            exemplars.push((id, Exemplar { labels, value: f64::from_le_bytes(raw), timestamp_ms: key.timestamp_ms }));
        }
        Ok(exemplars)
    }

    fn read_samples(&mut self, rows: usize) -> Result<(), PayloadError> {
        self.samples.clear();
        let mut expected = 0i64;
        while self.samples.ids.len() < rows {
            let first = expected.checked_add(unzigzag(self.varint()?));
            let more = self.run_length(rows - self.samples.ids.len())?;
            let first = first.and_then(|first| u32::try_from(first).ok());
            let last = first.and_then(|first| first.checked_add(u32::try_from(more).ok()?));
            let (Some(first), Some(last)) = (first, last) else { return Err(self.error("series id out of range")) };
            self.samples.ids.extend(first..=last);
            expected = i64::from(last.wrapping_add(1));
        }
        let mut timestamp_ms = 0i64;
        while self.samples.timestamps_ms.len() < rows {
            let step = unzigzag(self.varint()?);
            let more = self.run_length(rows - self.samples.timestamps_ms.len())?;
            for _ in 0..=more {
                timestamp_ms = timestamp_ms.wrapping_add(step);
                self.samples.timestamps_ms.push(timestamp_ms);
            }
        }
        self.read_values(rows)
    }

    fn read_values(&mut self, rows: usize) -> Result<(), PayloadError> {
        let lengths = self.take(rows.div_ceil(2))?;
        for row in 0..rows {
            let pair = lengths.get(row / 2).copied().unwrap_or_default();
            let kept = usize::from(if row % 2 == 0 { pair & 15 } else { pair >> 4 });
            let bits = self.leading_bytes(kept)?;
            self.samples.values.push(f64::from_bits(bits));
        }
        Ok(())
    }

    /// The next `kept` bytes as the leading ones of eight; the others are zero.
    fn leading_bytes(&mut self, kept: usize) -> Result<u64, PayloadError> {
        if kept == 0 || kept > 8 {
            return Err(self.error("value of no bytes or more than 8"));
        }
        // Mostly eight bytes are there, and what is too much is masked away.
        let eight = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>());
        if let Some(&eight) = eight {
            self.at += kept;
            return Ok(u64::from_be_bytes(eight) & u64::MAX << (64 - 8 * kept));
        }
        let bytes = self.take(kept)?;
        Ok(bytes.iter().zip((0..8).rev()).fold(0, |bits, (&byte, place)| bits | u64::from(byte) << (8 * place)))
    }

    /// How many more rows a run has, less than `left`.
    fn run_length(&mut self, left: usize) -> Result<usize, PayloadError> {
        let more = usize::try_from(self.varint()?).ok().filter(|&more| more < left);
        more.ok_or_else(|| self.error("run longer than its column"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], PayloadError> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| self.error("bytes are missing"))?;
        self.at += count;
        Ok(taken)
    }

    fn text(&mut self) -> Result<&'a str, PayloadError> {
        let count = self.varint()?;
        let count = usize::try_from(count).map_err(|_| self.error("text too long"))?;
        std::str::from_utf8(self.take(count)?).map_err(|_| self.error("text is not UTF-8"))
    }

    fn varint(&mut self) -> Result<u64, PayloadError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at) else { return Err(self.error("bytes are missing")) };
            self.at += 1;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(self.error("number longer than 64 bits"))
    }

    fn error(&self, what: &'static str) -> PayloadError {
        PayloadError { what, at_byte: self.at }
    }
}

impl Key {
    fn take(&mut self, reader: &mut PayloadReader<'_>) -> Result<SeriesId, PayloadError> {
        let id = i64::from(self.id).checked_add(unzigzag(reader.varint()?)).and_then(|id| u32::try_from(id).ok());
        self.id = id.ok_or_else(|| reader.error("series id out of range"))?;
        self.timestamp_ms = self.timestamp_ms.wrapping_add(unzigzag(reader.varint()?));
        Ok(SeriesId(self.id))
    }
}
