//! The blocks' part of a check: every byte of every file, and the file against what the catalog says of it.

use std::path::Path;
use std::sync::Arc;

use model::TimeRange;
use roaring::RoaringBitmap;

use super::Check;
use crate::block::{self, BlockError, BlockReader, Census, ColumnCache, DAY_MS};
use crate::catalog::BlockRecord;
use crate::damage::Damage;
use crate::files::FileEntry;
use crate::ids::BlockId;

const REMEDY: &str = "reads and merges go around it; put back the file from a backup to have the rest";
const REMEDY_MISSING: &str = "put back the file from a backup, or restore the folder";
const REMEDY_CATALOG: &str = "restore the folder from a backup";

impl Check<'_> {
    /// Checks each of `registered` against its file among `present`, and names the files that nobody registered.
    /// `series` are those with labels, if that is known.
    pub(super) fn blocks(
        &mut self,
        present: &[FileEntry],
        registered: &[(BlockId, BlockRecord)],
        series: Option<&RoaringBitmap>,
    ) {
        let folder = self.folder.join("blocks");
        self.report.blocks = registered.len() as u64;
        for (_, record) in registered {
            let path = folder.join(&record.file);
            self.reading(&path);
            if let Some(entry) = present.iter().find(|entry| entry.name == record.file) {
                self.report.block_bytes += entry.bytes;
                self.block(&path, record, series);
                self.done_bytes += entry.bytes;
            } else {
                let damage = Damage { file: path, offset: 0, bytes: record.bytes, detail: "is missing".to_owned() };
                self.report.problem(damage, all_of(record), REMEDY_MISSING);
            }
        }
        let named = |entry: &&FileEntry| registered.iter().any(|(_, record)| record.file == entry.name);
        for entry in present.iter().filter(|entry| !named(entry)) {
            let detail = if series.is_none() {
                format!("{} bytes, not checked, because the catalog cannot be read", entry.bytes)
            } else {
                format!(
                    "{} bytes that the catalog does not name; opening the folder removes the file, or moves it to quarantine if the catalog may be older",
                    entry.bytes
                )
            };
            self.report.note(folder.join(&entry.name), detail);
        }
    }

    pub(super) fn block(&mut self, path: &Path, record: &BlockRecord, series: Option<&RoaringBitmap>) {
        let found = match block::verify(&self.files, path) {
            Ok(found) => found,
            Err(error) => return self.unusable(path, record, &error),
        };
        self.report.block_samples += found.samples_readable;
        let costs = match found.summary {
            Some(_) => {
                let lost = record.samples.saturating_sub(found.samples_readable);
                format!("{lost} of {} samples of the block, in all of its damaged places", record.samples)
            }
            None => all_of(record),
        };
        let told = found.damage.len() as u64;
        for damage in found.damage {
            self.report.problem(damage, costs.clone(), REMEDY);
        }
        self.report.problems_total += found.damaged_places - told;
        if found.summary.is_some() {
            match BlockReader::open(&self.files, path, Arc::new(ColumnCache::new(0))) {
                Ok(reader) => self.agrees(&reader, record, series),
                Err(error) => self.unusable(path, record, &error),
            }
        }
    }

    fn unusable(&mut self, path: &Path, record: &BlockRecord, error: &BlockError) {
        let damage = match error {
            BlockError::Damaged(damage) => damage.clone(),
            other => Damage { file: path.to_owned(), offset: 0, bytes: record.bytes, detail: other.to_string() },
        };
        self.report.problem(damage, all_of(record), REMEDY_MISSING);
    }

    /// Holds a readable block against its record, and against the series that have labels.
    fn agrees(&mut self, reader: &BlockReader, record: &BlockRecord, series: Option<&RoaringBitmap>) {
        let differs = |what: &str, found: String, want: String| {
            (found != want).then(|| format!("{what} {found}, but {want} in the catalog"))
        };
        let summary = reader.summary();
        let days = |first: i64, last: i64| format!("{first} to {last}");
        let span = (summary.bounds.start.0, summary.bounds.end.0);
        let mut wrong: Vec<String> = [
            differs("length", summary.bytes.to_string(), record.bytes.to_string()),
            differs("series", summary.series.to_string(), record.series.to_string()),
            differs("samples", summary.samples.to_string(), record.samples.to_string()),
            differs("times", days(span.0, span.1), days(record.min_ms, record.max_ms)),
            differs(
                "partition",
                days(summary.partition_day, summary.last_day),
                days(record.first_day, record.last_day),
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        let (mut bounds, mut unknown) = (TimeRange::new(i64::MAX, i64::MIN), 0u64);
        for info in reader.series() {
            // What cannot be read was told of when the block was verified.
            let Ok(info) = info else { break };
            bounds.start = bounds.start.min(info.bounds.start);
            bounds.end = bounds.end.max(info.bounds.end);
            let known = |series: &RoaringBitmap| u32::try_from(info.id).is_ok_and(|id| series.contains(id));
            unknown += u64::from(series.is_some_and(|series| !known(series)));
        }
        wrong.extend(differs("times of its series", days(bounds.start.0, bounds.end.0), days(span.0, span.1)));
        let day = |at_ms: i64| at_ms.div_euclid(DAY_MS);
        if day(span.0) < record.first_day || day(span.1) > record.last_day {
            wrong.push("samples outside of its partition".to_owned());
        }
        let summaries = |census: Census| census.codings.contains_key(block::SUMMARIES);
        if record.window_ms == 0 && Census::of(reader).is_ok_and(summaries) {
            wrong.push("summaries, but the catalog names no length of their windows".to_owned());
        }
        let damage = |detail: String| Damage { file: reader.path().to_owned(), offset: 0, bytes: record.bytes, detail };
        for detail in wrong {
            let costs = "queries may miss samples of the block, and merges may misplace them";
            self.report.problem(damage(detail), costs, REMEDY_CATALOG);
        }
        if unknown > 0 {
            let detail = format!("{unknown} series that neither catalog nor log knows");
            self.report.problem(damage(detail), "their samples: nobody knows their labels", REMEDY_CATALOG);
        }
    }
}

fn all_of(record: &BlockRecord) -> String {
    let BlockRecord { samples, series, min_ms, max_ms, .. } = record;
    format!("all {samples} samples of its {series} series, from {min_ms} to {max_ms} ms")
}
