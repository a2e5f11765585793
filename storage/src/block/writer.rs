//! Writes a block: series by series, straight to the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Samples, TimeRange};

use super::chunk::{FullEncoder, Place};
use super::directory::{ChunkEntry, ColumnDirectoryWriter, ColumnEntry, SeriesDirectoryWriter, SeriesEntry, Slice};
use super::known::{Found, KnownColumns};
use super::layout::{Days, FOOTER_BYTES, Footer, HEADER_BYTES, Section, encode_header};
use super::overlay::{first_ms, is_plain, last_ms, times};
use super::{BlockError, BlockSummary, day_of};
use crate::codec::full::is_canonical;
use crate::codec::values::ValueEncoder;
use crate::codec::{CHUNK_SAMPLES_MAX, Effort, times as time_codec};
use crate::files::{Files, WriteFile, beside, folder_of};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// A block file being written, beside its final name. Memory: the buffer, the columns remembered for sharing, and the
/// directories, some ten bytes a chunk. Dropped unfinished, it removes its file.
#[derive(Debug)]
pub struct BlockWriter {
    files: Arc<dyn Files>,
    path: PathBuf,
    file: Option<Box<dyn WriteFile>>,
    days: Days,
    pub(super) effort: Effort,
    pub(super) buffer: Vec<u8>,
    /// Length of the file with the buffer.
    end: u64,
    columns: ColumnDirectoryWriter,
    known: KnownColumns,
    series: SeriesDirectoryWriter,
    entry: SeriesEntry,
    pub(super) encoder: ValueEncoder,
    pub(super) full: FullEncoder,
    totals: Footer,
}

impl BlockWriter {
    /// Begins a block of `partition_day` (days since 1970-01-01 UTC) that will be at `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be created.
    pub fn create(files: Arc<dyn Files>, path: &Path, partition_day: i64, effort: Effort) -> Result<Self, BlockError> {
        Self::create_spanning(files, path, partition_day, partition_day, effort)
    }

    /// Begins a block of the partition from `partition_day` to `last_day`, for days too thin for a block each.
    ///
    /// # Errors
    ///
    /// When the file cannot be created.
    pub fn create_spanning(
        files: Arc<dyn Files>,
        path: &Path,
        partition_day: i64,
        last_day: i64,
        effort: Effort,
    ) -> Result<Self, BlockError> {
        let file = files.create(&beside(path))?;
        let days = Days { first: partition_day, last: last_day };
        Ok(Self {
            files,
            path: path.to_owned(),
            file: Some(file),
            days,
            effort,
            buffer: encode_header(days),
            end: HEADER_BYTES as u64,
            columns: ColumnDirectoryWriter::default(),
            known: KnownColumns::default(),
            series: SeriesDirectoryWriter::default(),
            entry: SeriesEntry::default(),
            encoder: ValueEncoder::new(),
            full: FullEncoder::default(),
            totals: Footer { min_ms: i64::MAX, max_ms: i64::MIN, ..Footer::default() },
        })
    }

    /// How many series were added.
    pub fn series(&self) -> u64 {
        self.series.count
    }

    /// Length of the file so far, without directories.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// Adds a series: its id above those before, its samples ascending, unique in time, and inside the partition.
    /// No samples add nothing.
    ///
    /// # Errors
    ///
    /// When the order is broken, or the file cannot be written; after the latter give the writer up.
    pub fn add_series(&mut self, series_id: u64, samples: &Samples) -> Result<(), BlockError> {
        if !self.begin(series_id, samples)? {
            return Ok(());
        }
        if is_plain(samples) {
            self.add_plain(&samples.timestamps_ms, &samples.values)?;
        } else {
            self.add_full(samples)?;
        }
        self.end(samples);
        Ok(())
    }

    /// Begins the entry of a series that will have `samples`, once they are found in order; says whether there are any.
    pub(super) fn begin(&mut self, series_id: u64, samples: &Samples) -> Result<bool, BlockError> {
        let (Some(first), Some(last)) = (first_ms(samples), last_ms(samples)) else { return Ok(false) };
        self.check(series_id, samples, first, last)?;
        self.entry.id = series_id;
        self.entry.chunks.clear();
        Ok(true)
    }

    /// Ends the entry of a series whose chunks are added.
    pub(super) fn end(&mut self, samples: &Samples) {
        self.series.push(&self.entry);
        self.totals.chunks += self.entry.chunks.len() as u64;
        self.totals.samples += samples.len() as u64;
        if let (Some(first), Some(last)) = (first_ms(samples), last_ms(samples)) {
            self.totals.min_ms = self.totals.min_ms.min(first);
            self.totals.max_ms = self.totals.max_ms.max(last);
        }
    }

    fn check(&self, series_id: u64, samples: &Samples, first: i64, last: i64) -> Result<(), BlockError> {
        let unordered = |detail| Err(BlockError::Unordered { series_id, detail });
        if self.series.count > 0 && series_id <= self.entry.id {
            return unordered("its id is not above the one before");
        }
        if samples.values.len() != samples.timestamps_ms.len() {
            return unordered("it has not one value for each timestamp");
        }
        let plain = is_plain(samples);
        if !samples.starts_ms.is_empty() && samples.starts_ms.len() != samples.timestamps_ms.len() {
            return unordered("it has not one start for each float");
        }
        let ascending =
            samples.timestamps_ms.is_sorted_by(|a, b| a < b) && (plain || times(samples).is_sorted_by(|a, b| a < b));
        if !ascending {
            return unordered("its samples are not ascending and unique in time");
        }
        if day_of(first) < self.days.first || day_of(last) > self.days.last {
            return unordered("it has samples outside of the partition");
        }
        if !samples.histograms.iter().all(|sample| is_canonical(&sample.histogram)) {
            return unordered("it has a histogram that is not in canonical form");
        }
        Ok(())
    }

    fn add_plain(&mut self, mut times: &[i64], mut values: &[f64]) -> Result<(), BlockError> {
        while !times.is_empty() {
            let place = self.place_times(times)?;
            let (chunk_values, rest) = values.split_at(place.count);
            let start = self.buffer.len();
            let coding = self.encoder.encode(chunk_values, self.effort, &mut self.buffer);
            self.add_chunk(coding.tag(), place, times, start)?;
            values = rest;
            times = times.get(place.count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Floats with starts and histograms: timestamps of all kinds share columns, each chunk has one kind.
    fn add_full(&mut self, samples: &Samples) -> Result<(), BlockError> {
        let all_times: Vec<i64> = times(samples).collect();
        let mut times = all_times.as_slice();
        let mut next = Place::default();
        while !times.is_empty() {
            let mut column = self.place_times(times)?;
            while column.count > 0 {
                let start = self.buffer.len();
                let plain = (&mut self.encoder, self.effort);
                let (count, tag) = self.full.encode_front(samples, &mut next, column.count, plain, &mut self.buffer);
                self.add_chunk(tag, Found { count, ..column }, times, start)?;
                column.first += count;
                column.count -= count;
                times = times.get(count..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// A column that `times` begins with: one that is known, or a new one.
    pub(super) fn place_times(&mut self, times: &[i64]) -> Result<Found, BlockError> {
        if let Some(found) = self.known.find(times) {
            return Ok(found);
        }
        let (column, _) = times.split_at(times.len().min(CHUNK_SAMPLES_MAX));
        let start = self.buffer.len();
        let coding = time_codec::encode(column, self.effort, &mut self.buffer);
        let encoded = self.buffer.get(start..).unwrap_or_default();
        let (min_ms, max_ms) = (column.first().copied().unwrap_or(0), column.last().copied().unwrap_or(0));
        let entry = ColumnEntry {
            tag: coding.tag(),
            count: column.len(),
            min_ms,
            max_ms,
            offset: self.end,
            bytes: encoded.len() as u64,
            crc: crc32fast::hash(encoded),
        };
        self.end += entry.bytes;
        self.write_if_full()?;
        let number = self.columns.count;
        self.columns.push(&entry);
        self.known.insert(number, column);
        Ok(Found {
            column: number,
            first: 0,
            count: column.len(),
            column_count: column.len(),
            column_min_ms: min_ms,
            column_max_ms: max_ms,
        })
    }

    /// Registers the chunk whose bytes begin at `start` of the buffer; `times` begins with its timestamps.
    pub(super) fn add_chunk(
        &mut self,
        coding_tag: u8,
        place: Found,
        times: &[i64],
        start: usize,
    ) -> Result<(), BlockError> {
        let encoded = self.buffer.get(start..).unwrap_or_default();
        let (bytes, crc) = (encoded.len() as u64, crc32fast::hash(encoded));
        let first_ms = times.first().copied().unwrap_or(0);
        let last_ms = times.get(place.count - 1).copied().unwrap_or(0);
        let slice = (place.count < place.column_count).then(|| Slice {
            first: place.first,
            count: place.count,
            after_min_ms: first_ms.wrapping_sub(place.column_min_ms).cast_unsigned(),
            before_max_ms: place.column_max_ms.wrapping_sub(last_ms).cast_unsigned(),
        });
        self.entry.chunks.push(ChunkEntry { coding_tag, column: place.column, slice, offset: self.end, bytes, crc });
        self.end += bytes;
        self.write_if_full()
    }

    fn write_if_full(&mut self) -> Result<(), BlockError> {
        if self.buffer.len() >= BUFFER_BYTES { self.write_buffer() } else { Ok(()) }
    }

    fn write_buffer(&mut self) -> Result<(), BlockError> {
        if let Some(file) = &self.file {
            file.append(&self.buffer)?;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Writes the directories, syncs the file, gives it its name and syncs the folder. From here on the block
    /// survives a crash, and nothing needs it until the catalog names it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; nothing is left at the final name, or what can be removed at any time.
    pub fn finish(mut self) -> Result<BlockSummary, BlockError> {
        let sections = [
            std::mem::take(&mut self.columns.directory),
            std::mem::take(&mut self.columns.index),
            std::mem::take(&mut self.series.directory),
            std::mem::take(&mut self.series.index),
        ];
        let mut footer = Footer { series: self.series.count, columns: self.columns.count, ..self.totals };
        for (bytes, section) in sections.iter().zip(&mut footer.sections) {
            *section = Section { offset: self.end, bytes: bytes.len() as u64, crc: crc32fast::hash(bytes) };
            self.end += section.bytes;
            self.buffer.extend_from_slice(bytes);
            self.write_if_full()?;
        }
        footer.file_bytes = self.end + FOOTER_BYTES as u64;
        self.buffer.extend_from_slice(&footer.encode());
        self.write_buffer()?;
        if let Some(file) = &self.file {
            file.sync_data()?;
        }
        self.files.rename(&beside(&self.path), &self.path)?;
        self.file = None;
        // Nobody will look for it under this name, and who tries again takes another.
        self.files.sync_dir(folder_of(&self.path)).inspect_err(|_| drop(self.files.remove(&self.path)))?;
        Ok(footer.summary(self.days))
    }
}

impl Footer {
    pub(super) fn summary(&self, days: Days) -> BlockSummary {
        BlockSummary {
            partition_day: days.first,
            last_day: days.last,
            bounds: TimeRange::new(self.min_ms, self.max_ms),
            series: self.series,
            chunks: self.chunks,
            columns: self.columns,
            samples: self.samples,
            bytes: self.file_bytes,
        }
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = self.files.remove(&beside(&self.path))
        {
            tracing::warn!(%error, "an unfinished block stays behind");
        }
    }
}
