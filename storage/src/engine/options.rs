//! What can be set about an engine. Every limit is here, with its unit.

use super::LifetimeRule;

/// When an append is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before it returns. Appends that wait at the same time share one sync.
    Sync,
    /// At most so much later. A crash of the process loses nothing, a crash of the machine the last interval.
    Interval {
        /// Milliseconds from one sync to the next.
        interval_ms: u64,
    },
    /// When the operating system writes it. A crash of the process loses nothing.
    Off,
}

/// The settings of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// When an append is on disk.
    pub durability: Durability,
    /// Age at which samples go; `None` keeps everything, with any timestamp.
    pub retention_ms: Option<i64>,
    /// Rules for series that are kept for another time, or as summaries; the first that matches counts before
    /// `retention_ms`. At most 65,534.
    pub lifetimes: Vec<LifetimeRule>,
    /// Length of the folder above which the oldest samples are dropped, whatever retention says; 0 is any.
    pub disk_bytes_max: u64,
    /// How far ahead of the clock a sample may be; `None` is any. Without retention any is allowed anyway.
    pub future_lead_ms: Option<i64>,
    /// Length at which a segment of the log ends.
    pub log_segment_bytes: u64,
    /// Length of the log at which the head is flushed.
    pub flush_log_bytes: u64,
    /// Time after which the head is flushed however small it is.
    pub flush_age_ms: i64,
    /// Memory of the head's samples at which it is flushed. At twice that, appends are told to come back later.
    pub head_bytes_max: u64,
    /// Most series in memory; no more are created above it. Those that are written no more leave it.
    pub series_max: usize,
    /// Most series of one metric name; 0 is any number.
    pub series_per_metric_max: usize,
    /// Most series of one agent, which is the host in the label `instance`; 0 is any number.
    pub series_per_agent_max: usize,
    /// How long after its last sample a series may leave memory, if blocks and the catalog have it; files in the folder
    /// `index` find it then.
    pub cold_after_ms: i64,
    /// Series that such a file has at least; a sixteenth of those in memory if that is more.
    pub cold_series_min: usize,
    /// Memory for decoded labels of series that left memory.
    pub label_cache_bytes: usize,
    /// Most metrics whose metadata is kept.
    pub metadata_max: usize,
    /// Most exemplars kept, in memory; those that came first make room. They take some 200 bytes each.
    pub exemplars_max: usize,
    /// Disk space that appends leave free, so that flushing and merging can go on; merging leaves half of it to flushing.
    pub disk_reserve_bytes: u64,
    /// How long a delete can be undone; then merging removes what it deletes.
    pub delete_undo_ms: i64,
    /// Pause between two looks at what is to be merged or dropped.
    pub maintain_every_ms: u64,
    /// Most bytes of blocks that are merged at once; while it lasts, they take their space twice.
    pub merge_bytes_max: u64,
    /// Memory for decoded timestamps of blocks.
    pub column_cache_bytes: usize,
    /// Memory that flushing and merging work in: a flush writes fewer blocks side by side, and a merge takes fewer blocks,
    /// two at least.
    pub maintenance_bytes_max: u64,
    /// Whether the engine flushes, merges and drops by itself; tests that want to decide when switch it off.
    pub background: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            retention_ms: Some(30 * 86_400_000),
            lifetimes: Vec::new(),
            disk_bytes_max: 0,
            future_lead_ms: Some(600_000),
            log_segment_bytes: 16 << 20,
            flush_log_bytes: 64 << 20,
            flush_age_ms: 2 * 3_600_000,
            head_bytes_max: 256 << 20,
            series_max: 5_000_000,
            series_per_metric_max: 1_000_000,
            series_per_agent_max: 500_000,
            cold_after_ms: 3_600_000,
            cold_series_min: 4096,
            label_cache_bytes: 8 << 20,
            metadata_max: 100_000,
            exemplars_max: 100_000,
            disk_reserve_bytes: 256 << 20,
            delete_undo_ms: 86_400_000,
            maintain_every_ms: 60_000,
            merge_bytes_max: 256 << 20,
            column_cache_bytes: 32 << 20,
            maintenance_bytes_max: 256 << 20,
            background: true,
        }
    }
}
