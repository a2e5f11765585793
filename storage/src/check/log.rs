//! The log's part of a check: every record is whole and can be applied.

use std::path::PathBuf;

use roaring::RoaringBitmap;

use super::{Check, CheckError};
use crate::catalog::State;
use crate::engine::OpenError;
use crate::files::FileEntry;
use crate::ids::Sequence;
use crate::log::payload::{PayloadReader, SampleColumns, Section};
use crate::log::replay::{Record, inspect};
use crate::log::{LogError, Refused, Replayed, is_left_over, segment_number};

const REMEDY: &str = "open the folder: what is whole is kept, and a copy of the segment goes to quarantine";

/// What the records hold.
#[derive(Debug)]
struct Records {
    series: RoaringBitmap,
    /// Whether the catalog could be read, so that a series unknown to it is unknown.
    complete: bool,
    samples: u64,
    columns: SampleColumns,
}

impl Check<'_> {
    /// Walks the log; returns `series` with those that it defines.
    pub(super) fn log(
        &mut self,
        segments: &[FileEntry],
        state: State,
        complete: bool,
        series: RoaringBitmap,
    ) -> Result<RoaringBitmap, CheckError> {
        let folder = self.folder.join("log");
        self.reading(&folder);
        for entry in segments {
            if segment_number(&entry.name).is_some() {
                self.report.log_segments += 1;
                self.report.log_bytes += entry.bytes;
            } else if is_left_over(&entry.name) {
                self.report.note(folder.join(&entry.name), "is the left-over of an opening; the next one removes it");
            } else {
                self.report.note(folder.join(&entry.name), "is no segment of the log; it is left alone");
            }
        }
        let mut records = Records { series, complete, samples: 0, columns: SampleColumns::default() };
        let after = Sequence(state.flushed);
        if !segments.is_empty() {
            match inspect(&self.files, &folder, after, &mut |record| records.apply(record)) {
                Ok(replayed) => self.replayed(replayed, segments),
                Err(LogError::Broken(error)) => return Err(error.into()),
                Err(error) => return Err(OpenError::from(error).into()),
            }
        }
        self.report.log_samples = records.samples;
        self.done_bytes += segments.iter().map(|entry| entry.bytes).sum::<u64>();
        Ok(records.series)
    }

    fn replayed(&mut self, replayed: Replayed, segments: &[FileEntry]) {
        self.report.log_records = replayed.records;
        for damage in replayed.damage {
            let costs = if damage.bytes == 0 { "the samples of these records" } else { "the samples of these bytes" };
            self.report.problem(damage, costs, REMEDY);
        }
        let newest =
            segments.iter().filter_map(|entry| Some((segment_number(&entry.name)?, entry))).max_by_key(|of| of.0);
        if let (Some((_, newest)), true) = (newest, replayed.torn_bytes > 0) {
            let path: PathBuf = self.folder.join("log").join(&newest.name);
            let at = newest.bytes.saturating_sub(replayed.torn_bytes);
            let detail = format!(
                "{} bytes from byte {at} on are no whole record: an append that was cut short; they go when the folder is opened",
                replayed.torn_bytes
            );
            self.report.note(path, detail);
        }
    }
}

impl Records {
    /// Reads a record as opening the folder does.
    fn apply(&mut self, record: Record<'_>) -> Result<(), Refused> {
        let mut reader = PayloadReader::new(record.payload, std::mem::take(&mut self.columns));
        let mut unknown = 0;
        while let Some(section) = reader.next_section().map_err(|error| error.to_string())? {
            match section {
                Section::Series(series) => self.series.extend(series.iter().map(|(id, _)| id.0)),
                Section::Samples => {
                    self.samples += reader.samples.len() as u64;
                    unknown += reader.samples.ids.iter().filter(|id| !self.series.contains(**id)).count();
                }
                Section::FullSamples(rows) => {
                    self.samples += rows.len() as u64;
                    unknown += rows.iter().filter(|row| !self.series.contains(row.id.0)).count();
                }
                Section::Metadata(_) | Section::Exemplars(_) => {}
            }
        }
        self.columns = reader.samples;
        if unknown > 0 && self.complete {
            return Err(format!("{unknown} samples of series whose definition is lost").into());
        }
        Ok(())
    }
}
