//! What storage says of itself on `/metrics`, one row a metric.
//!
//! Add a row to [`COUNTERS`], [`GAUGES`], [`TIMES`] or [`BYTES`], and a line to the table in `docs/operations.md`; a
//! test compares the two.

use model::MetricKind;
use model::exposition::Family;
use model::time::ShowDuration;
use storage::{DURATION_BOUNDS_US, DurationStats, EngineStats};

use crate::metrics_page::{gauge, one_counter, one_gauge, push, whole, whole_signed};

/// Name, help and value of a metric.
type Row<T> = (&'static str, &'static str, fn(&EngineStats) -> T);

/// The same of times.
type TimesRow = (&'static str, &'static str, fn(&EngineStats) -> &DurationStats);

/// A kind of bytes and how many there are.
type BytesRow = (&'static str, fn(&EngineStats) -> u64);

const COUNTERS: &[Row<u64>] = &[
    ("metrickit_samples_appended_total", "Samples taken.", |of| of.samples_appended),
    ("metrickit_samples_rejected_total", "Samples that storage refused one by one.", |of| of.samples_rejected),
    ("metrickit_histograms_appended_total", "Native histograms among the samples taken.", |of| of.histograms_appended),
    ("metrickit_series_created_total", "Series created.", |of| of.series_created),
    ("metrickit_series_removed_total", "Series removed because nothing held them any more.", |of| of.series_removed),
    ("metrickit_series_cooled_total", "Series that left memory because nobody wrote them any more.", |of| {
        of.series_cooled
    }),
    ("metrickit_index_files_refused_total", "Index files found damaged or foreign, and made again.", |of| {
        of.index.refused
    }),
    ("metrickit_log_records_total", "Records written to the log.", |of| of.log_records),
    ("metrickit_log_syncs_total", "Syncs of the log that an append waited for.", |of| of.log_syncs),
    ("metrickit_replayed_records_total", "Records replayed from the log at the start.", |of| of.replayed_records),
    ("metrickit_replayed_bytes_total", "Bytes of the log replayed at the start.", |of| of.replayed_bytes),
    ("metrickit_log_torn_bytes_total", "Bytes of an unfinished record cut off at the start.", |of| of.torn_bytes),
    ("metrickit_flushes_total", "Times the head became blocks.", |of| of.flushes),
    ("metrickit_flush_failures_total", "Flushes that failed and are tried again.", |of| of.flush_failures),
    ("metrickit_flushed_bytes_total", "Bytes of blocks that flushes wrote.", |of| of.flushed_bytes),
    ("metrickit_merges_total", "Times blocks became one.", |of| of.merges),
    (
        "metrickit_maintenance_failures_total",
        "Rounds of retention, merging and summaries that failed or met a full disk, and are tried again.",
        |of| of.maintenance_failures,
    ),
    ("metrickit_merge_read_bytes_total", "Bytes of blocks that merges read.", |of| of.merge_read_bytes),
    ("metrickit_merge_written_bytes_total", "Bytes of blocks that merges wrote.", |of| of.merge_written_bytes),
    ("metrickit_blocks_dropped_total", "Blocks dropped by retention.", |of| of.blocks_dropped),
    ("metrickit_dropped_bytes_total", "Bytes of blocks dropped by retention.", |of| of.dropped_bytes),
    ("metrickit_blocks_rewritten_total", "Blocks written anew without series past their time.", |of| {
        of.blocks_rewritten
    }),
    ("metrickit_samples_summarised_total", "Samples that summaries were made of.", |of| of.samples_summarised),
    ("metrickit_partitions_summarised_total", "Partitions whose summaries were made, or made anew.", |of| {
        of.partitions_summarised
    }),
    (
        "metrickit_retention_freed_bytes_total",
        "Bytes of blocks that retention rules keep no longer, or only as summaries.",
        |of| of.lifetime_bytes_freed,
    ),
    ("metrickit_disk_limit_drops_total", "Partitions dropped by disk_bytes_max.", |of| of.disk_limit_drops),
    ("metrickit_disk_limit_dropped_bytes_total", "Bytes dropped by disk_bytes_max.", |of| of.disk_limit_bytes),
    ("metrickit_backups_total", "Backups that were taken.", |of| of.backups),
    ("metrickit_backup_failures_total", "Backups that failed.", |of| of.backup_failures),
    ("metrickit_disk_full_refusals_total", "Appends refused because the disk was full.", |of| of.disk_full_refusals),
    ("metrickit_column_cache_hits_total", "Columns of timestamps found decoded.", |of| of.column_cache_hits),
    ("metrickit_column_cache_misses_total", "Columns of timestamps that were decoded.", |of| of.column_cache_misses),
];

const GAUGES: &[Row<f64>] = &[
    ("metrickit_series", "Series that exist.", |of| whole(of.series)),
    ("metrickit_series_live", "Series in memory.", |of| whole(of.index.live)),
    ("metrickit_series_cold", "Series that index files alone find.", |of| whole(of.index.cold)),
    ("metrickit_index_files", "Index files.", |of| whole(of.index.files)),
    ("metrickit_exemplars", "Exemplars that are kept.", |of| whole(of.exemplars)),
    ("metrickit_blocks", "Block files that are read.", |of| whole(of.blocks)),
    ("metrickit_block_samples", "Samples in these blocks.", |of| whole(of.block_samples)),
    ("metrickit_merge_waiting_bytes", "Bytes of the blocks of the next merge that waits for room on the disk.", |of| {
        whole(of.merge_waiting_bytes)
    }),
    ("metrickit_deletes_pending", "Deletes whose samples are still stored.", |of| whole(of.deletes_pending)),
    ("metrickit_blocks_quarantined", "Block files that cannot be read.", |of| whole(of.blocks_quarantined)),
    ("metrickit_disk_reserve_bytes", "What writes leave free on the disk of the data.", |of| {
        whole(of.disk_reserve_bytes)
    }),
    ("metrickit_log_segments", "Segment files of the log.", |of| whole(of.log_segments)),
    ("metrickit_log_unflushed_bytes", "Bytes of the log that no flush has covered.", |of| {
        whole(of.log_unflushed_bytes)
    }),
    ("metrickit_replaying", "Whether the log is being replayed: answers may lack its samples.", |of| {
        whole(u64::from(of.replaying.is_some()))
    }),
    ("metrickit_replay_seconds", "Time that replaying the log took at the start.", |of| whole(of.replay_us) / 1e6),
    ("metrickit_damaged_places", "Places in stored data found damaged.", |of| whole(of.damage.len() as u64)),
    ("metrickit_poisoned", "Whether storage takes no writes until a restart.", |of| {
        whole(u64::from(of.poisoned.is_some()))
    }),
    ("metrickit_last_backup_seconds", "Time that the last backup is of, in Unix seconds.", |of| seconds(of.backup_ms)),
    ("metrickit_last_backup_bytes", "Bytes of all files of the last backup.", |of| whole(of.backup_bytes)),
    ("metrickit_oldest_sample_seconds", "Time of the oldest sample, in Unix seconds.", |of| seconds(of.oldest_ms)),
    ("metrickit_newest_sample_seconds", "Time of the newest sample, in Unix seconds.", |of| seconds(of.newest_ms)),
];

const TIMES: &[TimesRow] = &[
    ("metrickit_log_sync_seconds", "Time of the log's syncs that an append waited for.", |of| &of.sync_times),
    ("metrickit_flush_seconds", "Time of flushes, from the turn of the head to the trim of the log.", |of| {
        &of.flush_times
    }),
    ("metrickit_merge_seconds", "Time of merges.", |of| &of.merge_times),
];

/// The kinds of `metrickit_storage_bytes`.
const BYTES: &[BytesRow] = &[
    ("blocks", |of| of.block_bytes),
    ("log", |of| of.log_bytes),
    ("catalog", |of| of.catalog_bytes),
    ("head", |of| of.head_bytes),
    ("column_cache", |of| of.column_cache_bytes),
    ("index", |of| of.index.file_bytes),
    ("label_cache", |of| of.index.cache_bytes),
];

pub(crate) fn families(of: &EngineStats) -> Vec<Family> {
    let mut bytes =
        gauge("metrickit_storage_bytes", "Bytes held: files of blocks, log and catalog, memory of the rest.");
    for (kind, value) in BYTES {
        bytes = bytes.with(&[("kind", kind)], whole(value(of)));
    }
    let counters = COUNTERS.iter().map(|(name, help, value)| one_counter(name, help, value(of)));
    let gauges = GAUGES.iter().map(|(name, help, value)| one_gauge(name, help, value(of)));
    let times = TIMES.iter().map(|(name, help, value)| histogram(name, help, value(of)));
    let available = of.disk_available_bytes;
    let available = available
        .map(|bytes| one_gauge("metrickit_disk_available_bytes", "Free on the disk of the data.", whole(bytes)));
    counters
        .chain(gauges)
        .chain(available)
        .chain(times)
        .chain([bytes])
        .chain(summary_families(of))
        .chain(limit_families(of))
        .collect()
}

/// Limits on series: how many there may be, how many there are, what was refused.
fn limit_families(stats: &EngineStats) -> [Family; 4] {
    let mut max = gauge("metrickit_series_limit", "Most series that there may be, by limit; 0 is any number.");
    let mut used = gauge(
        "metrickit_series_limit_used",
        "Series of the server, of the metric and of the agent that has the most, by limit.",
    );
    let mut full = gauge("metrickit_series_limit_full", "Metrics or agents that may have no more series, by limit.");
    let mut refused = Family::new(
        "metrickit_series_limit_rejected_samples_total",
        MetricKind::Counter,
        "Samples of new series refused because of a limit on series, by limit.",
    );
    for of in &stats.series_limits {
        let limit = [("limit", of.limit.setting())];
        max = max.with(&limit, whole(of.max));
        used = used.with(&limit, whole(of.series));
        full = full.with(&limit, whole(of.full));
        refused = refused.with(&limit, whole(of.samples_refused));
    }
    [max, used, full, refused]
}

/// Blocks of summaries, by window.
fn summary_families(stats: &EngineStats) -> [Family; 2] {
    let mut blocks = gauge("metrickit_summary_blocks", "Block files of summaries, by the length of their windows.");
    let mut bytes = gauge("metrickit_summary_block_bytes", "Bytes of these blocks.");
    for of in &stats.summary_blocks {
        let window = ShowDuration(of.window_ms).to_string();
        blocks = blocks.with(&[("window", &window)], whole(of.blocks));
        bytes = bytes.with(&[("window", &window)], whole(of.bytes));
    }
    [blocks, bytes]
}

fn histogram(name: &str, help: &str, of: &DurationStats) -> Family {
    let mut family = Family::new(name, MetricKind::Histogram, help);
    let bucket = format!("{name}_bucket");
    for (&bound_us, &count) in DURATION_BOUNDS_US.iter().zip(&of.cumulative) {
        push(&mut family, &bucket, &[("le", &(whole(bound_us) / 1e6).to_string())], whole(count));
    }
    push(&mut family, &bucket, &[("le", "+Inf")], whole(of.count));
    push(&mut family, &format!("{name}_sum"), &[], whole(of.sum_us) / 1e6);
    push(&mut family, &format!("{name}_count"), &[], whole(of.count));
    family
}

fn seconds(ms: Option<i64>) -> f64 {
    ms.map_or(f64::NAN, |ms| whole_signed(ms) / 1000.0)
}
