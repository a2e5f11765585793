//! What the screen shows, wherever it comes from: processes with their numbers, and one process's sites and signals.

use crate::render::number::short;
use crate::render::unit::{BYTES, PLAIN, SECONDS, Unit};

/// What tells processes apart: the labels `job` and `instance`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Key {
    pub(super) job: String,
    pub(super) instance: String,
}

/// A number of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Goroutines,
    HeapLive,
    HeapLimit,
    GcCpu,
    /// Bytes a second.
    Allocated,
    Latency,
    Cpu,
    Resident,
    Threads,
    Leak,
}

impl Number {
    /// How many there are.
    pub(super) const COUNT: usize = 10;

    /// The unit that it is shown in.
    pub(super) fn unit(self) -> Unit {
        match self {
            Self::HeapLive | Self::HeapLimit | Self::Allocated | Self::Resident => BYTES,
            Self::Latency => SECONDS,
            Self::Goroutines | Self::GcCpu | Self::Cpu | Self::Threads | Self::Leak => PLAIN,
        }
    }

    /// `value` as it is shown. Parts of processors are in percent of one.
    pub(super) fn text(self, value: f64) -> String {
        match self {
            Self::Cpu | Self::GcCpu => {
                let percent = value * 100.0;
                if percent < 9.95 { format!("{percent:.1}") } else { format!("{percent:.0}") }
            }
            Self::Leak if value < 0.0 => "-".to_owned(),
            Self::Goroutines | Self::Threads if value < 99_999.5 => format!("{value:.0}"),
            _ => short(value, self.unit()),
        }
    }
}

/// A process at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Process {
    pub(super) key: Key,
    pub(super) pid: String,
    /// Its version, else its revision.
    pub(super) version: String,
    pub(super) go_version: String,
    numbers: [Option<f64>; Number::COUNT],
}

impl Process {
    pub(super) fn new(key: Key) -> Self {
        Self { key, ..Self::default() }
    }

    pub(super) fn number(&self, which: Number) -> Option<f64> {
        self.numbers[which as usize]
    }

    /// Sets a number, unless it is none.
    pub(super) fn set(&mut self, which: Number, value: f64) {
        if value.is_finite() {
            self.numbers[which as usize] = Some(value);
        }
    }
}

/// All processes at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Snapshot {
    pub(super) at_ms: i64,
    pub(super) processes: Vec<Process>,
    /// Processes that may not be seen.
    pub(super) hidden: u64,
}

/// A number of a process over the time before the screen was opened.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Past {
    pub(super) key: Key,
    pub(super) which: Number,
    /// Milliseconds since the Unix epoch, and values, in order of time.
    pub(super) points: Vec<(i64, f64)>,
}

/// Goroutines of one process that were started with one function and wait for the same.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Site {
    pub(super) function: String,
    pub(super) created_by: String,
    pub(super) wait: String,
    pub(super) count: f64,
    pub(super) growth: Option<f64>,
    pub(super) oldest_seconds: Option<f64>,
    /// File and line where they wait, else of the `go` statement.
    pub(super) place: String,
    pub(super) grade: Option<f64>,
}

/// What is known of one process beside its numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Detail {
    pub(super) key: Key,
    pub(super) sites: Vec<Site>,
    /// How far apart the readings are that growth is told of, in seconds.
    pub(super) growth_seconds: Option<f64>,
    /// Names without `go_signal_`, with the quantile, and values.
    pub(super) signals: Vec<(String, f64)>,
    /// Parts, and how each was read or why not.
    pub(super) parts: Vec<(String, String)>,
}

/// Where processes are looked up.
pub(super) trait Source: Send {
    /// What it is called on the screen.
    fn name(&self) -> String;
    /// What was before; nothing where that is not kept.
    fn past(&mut self, now_ms: i64) -> Vec<Past>;
    /// All processes now.
    fn snapshot(&mut self, now_ms: i64) -> anyhow::Result<Snapshot>;
    /// One process now, of those of the last snapshot.
    fn detail(&mut self, key: &Key, now_ms: i64) -> anyhow::Result<Detail>;
}

/// A signal's value by its name: ratios in percent, times and bytes in units that fit.
pub(super) fn signal_text(name: &str, value: f64) -> String {
    let name = name.split_whitespace().next().unwrap_or_default();
    if name.ends_with("_ratio") && name != "gomaxprocs_over_quota_ratio" && name != "runnable_ratio" {
        return format!("{} %", short((value * 1000.0).round() / 10.0, PLAIN));
    }
    let unit = if name.ends_with("_seconds") {
        SECONDS
    } else if name.contains("bytes") {
        BYTES
    } else {
        PLAIN
    };
    let per = if name.ends_with("_per_second") {
        "/s"
    } else if name.ends_with("_per_hour") {
        "/h"
    } else {
        ""
    };
    format!("{}{per}", short(value, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_in_their_units() {
        for (which, value, want) in [
            (Number::Goroutines, 12_345.0, "12345"),
            (Number::Goroutines, 123_456.0, "123.5k"),
            (Number::Cpu, 0.0123, "1.2"),
            (Number::Cpu, 1.5, "150"),
            (Number::Leak, -1.0, "-"),
            (Number::Leak, 3.0, "3"),
            (Number::Latency, 0.002, "2ms"),
            (Number::Allocated, 1_048_576.0, "1MiB"),
        ] {
            assert_eq!(which.text(value), want, "{which:?}");
        }
        for (name, value, want) in [
            ("gc_cpu_ratio", 0.0123, "1.2 %"),
            ("runnable_ratio", 2.5, "2.5"),
            ("sched_latency_seconds p99", 0.002, "2ms"),
            ("alloc_bytes_per_second", 2048.0, "2KiB/s"),
            ("heap_live_growth_bytes_per_hour", 2048.0, "2KiB/h"),
            ("gc_limiter_active", 1.0, "1"),
        ] {
            assert_eq!(signal_text(name, value), want, "{name}");
        }
    }
}
