//! Numbers about an engine, for `/metrics` and the status pages.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use model::METRIC_NAME;

use super::blocks::BlockSet;
use super::{Core, DurationStats, LimitUse, ReplayProgress};
use crate::damage::Damage;
use crate::index::IndexUse;

/// Numbers about an engine at one moment. Counters count since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Series that exist.
    pub series: u64,
    /// Of these in memory and in files, and what the files take up.
    pub index: IndexUse,
    /// Series that became cold: they left memory, and files find them.
    pub series_cooled: u64,
    /// Series created.
    pub series_created: u64,
    /// Series removed because nothing held them any more.
    pub series_removed: u64,
    /// The limits on series and how near they are.
    pub series_limits: Vec<LimitUse>,
    /// Samples taken.
    pub samples_appended: u64,
    /// Samples refused.
    pub samples_rejected: u64,
    /// Those of the samples taken that are histograms.
    pub histograms_appended: u64,
    /// Exemplars that are kept now.
    pub exemplars: u64,
    /// Appends refused because the disk was full.
    pub disk_full_refusals: u64,
    /// What is free on the disk of the folder, in bytes; `None` where the file system does not say.
    pub disk_available_bytes: Option<u64>,
    /// What appends leave of it, in bytes.
    pub disk_reserve_bytes: u64,
    /// Memory of the series that exist, in bytes: labels, index, and the fixed part of each in the head; an estimate.
    pub series_bytes: u64,
    /// Memory of the exemplars, in bytes; an estimate.
    pub exemplar_bytes: u64,
    /// Memory that flushes and merges work in, in bytes; an estimate.
    pub maintenance_bytes: u64,
    /// Memory of the samples in the head, in bytes.
    pub head_bytes: u64,
    /// Length of the log, in bytes.
    pub log_bytes: u64,
    /// Segments of the log.
    pub log_segments: u64,
    /// Records written to the log.
    pub log_records: u64,
    /// Syncs of the log that an append waited for.
    pub log_syncs: u64,
    /// Length of the log that no flush has covered, in bytes: about what a start would replay.
    pub log_unflushed_bytes: u64,
    /// How long these syncs took.
    pub sync_times: DurationStats,
    /// Records replayed when the folder was opened.
    pub replayed_records: u64,
    /// Bytes of the log gone through when the folder was opened.
    pub replayed_bytes: u64,
    /// How long replaying took, in microseconds; 0 while it is under way.
    pub replay_us: u64,
    /// How far the replay is, while it is under way.
    pub replaying: Option<ReplayProgress>,
    /// Bytes of an unfinished record cut off when the folder was opened.
    pub torn_bytes: u64,
    /// Blocks that are read.
    pub blocks: u64,
    /// Length of these blocks, in bytes.
    pub block_bytes: u64,
    /// Samples in these blocks; those that two blocks have count twice.
    pub block_samples: u64,
    /// Blocks that cannot be read.
    pub blocks_quarantined: u64,
    /// Length of the catalog's files, in bytes.
    pub catalog_bytes: u64,
    /// Memory of decoded timestamps, in bytes.
    pub column_cache_bytes: u64,
    /// Columns of timestamps that were found decoded.
    pub column_cache_hits: u64,
    /// Columns of timestamps that had to be decoded.
    pub column_cache_misses: u64,
    /// Flushes that ended well.
    pub flushes: u64,
    /// How long these took.
    pub flush_times: DurationStats,
    /// Length of the blocks they wrote, in bytes.
    pub flushed_bytes: u64,
    /// Flushes that failed and are tried again.
    pub flush_failures: u64,
    /// Rounds of retention, merging and summaries that failed, or met a full disk, and are tried again.
    pub maintenance_failures: u64,
    /// Merges that ended well.
    pub merges: u64,
    /// Bytes of the blocks of the next merge that waits for room on the disk.
    pub merge_waiting_bytes: u64,
    /// How long these took.
    pub merge_times: DurationStats,
    /// Length of the blocks they read, in bytes.
    pub merge_read_bytes: u64,
    /// Length of the blocks they wrote, in bytes.
    pub merge_written_bytes: u64,
    /// Blocks dropped by retention.
    pub blocks_dropped: u64,
    /// Blocks written anew without series that are past their time.
    pub blocks_rewritten: u64,
    /// Blocks of summaries, by the length of their windows, which ascends. They count among the blocks.
    pub summary_blocks: Vec<SummaryBlocks>,
    /// Samples that summaries were made of; those that were summarised again count again.
    pub samples_summarised: u64,
    /// Partitions whose summaries were made, or made anew.
    pub partitions_summarised: u64,
    /// Bytes of blocks that were removed because rules keep what they held no longer, or only its summaries.
    pub lifetime_bytes_freed: u64,
    /// Partitions dropped because the folder was larger than it may be.
    pub disk_limit_drops: u64,
    /// Bytes of their blocks.
    pub disk_limit_bytes: u64,
    /// Length of the blocks dropped, in bytes.
    pub dropped_bytes: u64,
    /// Deletes that hide samples which are still stored.
    pub deletes_pending: u64,
    /// Backups that were taken.
    pub backups: u64,
    /// Backups that failed.
    pub backup_failures: u64,
    /// The moment that the last backup is of, in milliseconds since the Unix epoch.
    pub backup_ms: Option<i64>,
    /// Length of all files of the last backup, in bytes.
    pub backup_bytes: u64,
    /// Time of the earliest sample in any block or the head, in milliseconds since the Unix epoch.
    pub oldest_ms: Option<i64>,
    /// Time of the latest sample.
    pub newest_ms: Option<i64>,
    /// Why nothing is taken any more, if so.
    pub poisoned: Option<String>,
    /// Damaged places that were found.
    pub damage: Vec<Damage>,
}

/// The blocks with summaries of one window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SummaryBlocks {
    /// Length of a window, in milliseconds.
    pub window_ms: i64,
    /// Blocks.
    pub blocks: u64,
    /// Their length, in bytes.
    pub bytes: u64,
    /// Windows of all series.
    pub summaries: u64,
}

/// A text and a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// What is counted.
    pub name: String,
    /// The number.
    pub count: u64,
}

/// What the labels of all series are. Lists are ordered by number, largest first, then by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series that exist.
    pub series: u64,
    /// Label names that exist.
    pub label_names: u64,
    /// Label pairs that exist.
    pub label_pairs: u64,
    /// Series by metric name.
    pub series_by_metric: Vec<Count>,
    /// Values by label name.
    pub values_by_label: Vec<Count>,
    /// Bytes of the values' text by label name.
    pub value_bytes_by_label: Vec<Count>,
    /// Series by label pair, written `name=value`.
    pub series_by_pair: Vec<Count>,
}

impl Core {
    pub(super) fn stats(&self) -> EngineStats {
        let view = self.view();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let head = self.head.span();
        let spans = view.blocks.iter().map(|block| block.span()).chain(head);
        let (oldest_ms, newest_ms) = (spans.clone().map(|span| span.start.0).min(), spans.map(|span| span.end.0).max());
        let (replayed_bytes, replay_us) = self.replay.done();
        let (column_cache_hits, column_cache_misses) = self.columns.uses();
        EngineStats {
            series: self.series.len(),
            index: self.series.usage(),
            series_cooled: get(&counters.series_cooled),
            series_created: get(&counters.series_created),
            series_removed: get(&counters.series_removed),
            series_limits: self.series_limits.uses(),
            samples_appended: get(&counters.samples_appended),
            samples_rejected: get(&counters.samples_rejected),
            histograms_appended: get(&counters.histograms_appended),
            exemplars: self.exemplars.read().len() as u64,
            exemplar_bytes: self.exemplars.read().len() as u64 * super::EXEMPLAR_BYTES,
            series_bytes: self.series_bytes(),
            maintenance_bytes: self.work_memory.bytes(),
            disk_full_refusals: get(&counters.disk_full_refusals),
            disk_available_bytes: self.files.available_bytes(&self.folder).ok(),
            disk_reserve_bytes: self.options.disk_reserve_bytes,
            head_bytes: self.head.bytes(),
            log_bytes: get(&counters.log_bytes),
            log_segments: get(&counters.log_segments),
            log_records: get(&counters.log_records),
            log_syncs: get(&counters.log_syncs),
            log_unflushed_bytes: get(&counters.log_unflushed_bytes),
            sync_times: counters.sync_times.read(),
            replayed_records: get(&counters.replayed_records),
            replayed_bytes,
            replay_us,
            replaying: self.replay.progress(),
            torn_bytes: get(&counters.torn_bytes),
            blocks: view.blocks.len() as u64,
            block_bytes: view.blocks.iter().map(|block| block.record.bytes).sum(),
            block_samples: view.blocks.iter().map(|block| block.record.samples).sum(),
            blocks_quarantined: view.quarantined.len() as u64,
            catalog_bytes: get(&counters.catalog_bytes),
            column_cache_bytes: self.columns.bytes() as u64,
            column_cache_hits,
            column_cache_misses,
            flush_times: counters.flush_times.read(),
            flushed_bytes: get(&counters.flushed_bytes),
            merge_times: counters.merge_times.read(),
            merge_read_bytes: get(&counters.merge_read_bytes),
            merge_written_bytes: get(&counters.merge_written_bytes),
            dropped_bytes: get(&counters.dropped_bytes),
            flushes: get(&counters.flushes),
            flush_failures: get(&counters.flush_failures),
            maintenance_failures: get(&counters.maintenance_failures),
            merges: get(&counters.merges),
            merge_waiting_bytes: get(&counters.merge_waiting_bytes),
            blocks_dropped: get(&counters.blocks_dropped),
            blocks_rewritten: get(&counters.blocks_rewritten),
            summary_blocks: summary_blocks(&view),
            samples_summarised: get(&counters.samples_summarised),
            partitions_summarised: get(&counters.partitions_summarised),
            lifetime_bytes_freed: get(&counters.lifetime_bytes_freed),
            disk_limit_drops: get(&counters.disk_limit_drops),
            disk_limit_bytes: get(&counters.disk_limit_bytes),
            deletes_pending: self.hidden().len() as u64,
            backups: get(&counters.backups),
            backup_failures: get(&counters.backup_failures),
            backup_ms: (get(&counters.backups) > 0).then(|| counters.backup_ms.load(Ordering::Relaxed)),
            backup_bytes: get(&counters.backup_bytes),
            oldest_ms,
            newest_ms,
            poisoned: self.poison.get().cloned(),
            damage: self.damage.0.lock().clone(),
        }
    }

    pub(super) fn cardinality(&self, top: usize) -> Cardinality {
        let mut found = Cardinality { series: self.series.len(), ..Cardinality::default() };
        let mut of_name = NameUse::default();
        let each = self.series.each_pair(|name, value, count| {
            if of_name.name != name {
                std::mem::replace(&mut of_name, NameUse::of(name)).add_to(&mut found);
            }
            of_name.values += 1;
            of_name.value_bytes += value.len() as u64;
            push_top(&mut found.series_by_pair, top, count, || format!("{name}={value}"));
            if name == METRIC_NAME {
                push_top(&mut found.series_by_metric, top, count, || value.to_owned());
            }
        });
        of_name.add_to(&mut found);
        if let Err(damage) = each {
            self.damage.add(damage);
        }
        for list in [
            &mut found.series_by_metric,
            &mut found.values_by_label,
            &mut found.value_bytes_by_label,
            &mut found.series_by_pair,
        ] {
            cut(list, top);
        }
        found
    }
}

/// What the values of one label name take up.
#[derive(Debug, Default)]
struct NameUse {
    name: String,
    values: u64,
    value_bytes: u64,
}

impl NameUse {
    fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    fn add_to(self, found: &mut Cardinality) {
        let Self { name, values, value_bytes } = self;
        if values > 0 {
            found.label_names += 1;
            found.label_pairs += values;
            found.values_by_label.push(Count { name: name.clone(), count: values });
            found.value_bytes_by_label.push(Count { name, count: value_bytes });
        }
    }
}

fn summary_blocks(view: &BlockSet) -> Vec<SummaryBlocks> {
    let mut by_window: BTreeMap<i64, SummaryBlocks> = BTreeMap::new();
    for record in view.blocks.iter().map(|block| &block.record).filter(|record| record.window_ms > 0) {
        let of = by_window.entry(record.window_ms).or_default();
        of.window_ms = record.window_ms;
        of.blocks += 1;
        of.bytes += record.bytes;
        of.summaries += record.samples;
    }
    by_window.into_values().collect()
}

/// Adds to a list that is cut down to its `top` largest whenever it has grown to twice as many.
fn push_top(list: &mut Vec<Count>, top: usize, count: u64, name: impl FnOnce() -> String) {
    list.push(Count { name: name(), count });
    if list.len() >= top.saturating_mul(2).max(64) {
        cut(list, top);
    }
}

pub(super) fn cut(list: &mut Vec<Count>, top: usize) {
    list.sort_unstable_by(|a, b| (Reverse(a.count), &a.name).cmp(&(Reverse(b.count), &b.name)));
    list.truncate(top);
}
