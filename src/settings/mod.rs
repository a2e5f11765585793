//! Settings of the server: what there is, and where each value comes from.
//!
//! A setting is one row of [`TABLE`]; its flag, environment variable, key in the file, default and help follow from
//! the row. Later layers win: defaults < file < environment < flags. `typed` turns the texts into checked values.

mod alerting;
mod flags;
mod layers;
mod lifetimes;
mod memory;
mod memory_limit;
pub(crate) mod typed;

pub(crate) use flags::SettingFlags;
pub(crate) use layers::{Resolved, SettingsError, resolve};

/// What a setting's text may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `HOST:PORT`.
    Address,
    /// A folder.
    Folder,
    /// `90s`, `1h30m`, `15d`.
    Duration,
    /// A duration, or `off`.
    DurationOrOff,
    /// `512MiB`, or a plain number of bytes.
    Bytes,
    /// A size, or `auto`: what follows from `memory_max`.
    BytesOrAuto,
    /// A whole number.
    Count,
    /// A whole number, or `auto`: what follows from `memory_max`.
    CountOrAuto,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Rules of `lifetimes`, separated by `;`; in the file a list of them. Or nothing.
    Rules,
    /// Texts, separated by `;`; in the file a list of them. Or nothing.
    List,
    /// `name=value`, separated by commas. Or nothing.
    Labels,
    /// Anything.
    Text,
}

impl Kind {
    /// How help writes the value.
    pub(crate) fn value_name(self) -> &'static str {
        match self {
            Self::Address => "ADDR",
            Self::Folder => "DIR",
            Self::Duration => "DURATION",
            Self::DurationOrOff => "DURATION|off",
            Self::Bytes => "BYTES",
            Self::BytesOrAuto => "BYTES|auto",
            Self::Count => "N",
            Self::CountOrAuto => "N|auto",
            Self::Choice(_) => "MODE",
            Self::Rules => "RULES",
            Self::List => "LIST",
            Self::Labels => "LABELS",
            Self::Text => "TEXT",
        }
    }
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// The key in the file: words joined by `_`. The flag has `-` instead, the variable capitals and a prefix.
    pub(crate) key: &'static str,
    /// The value without any other layer.
    pub(crate) default: &'static str,
    /// What the text may be.
    pub(crate) kind: Kind,
    /// One line for people.
    pub(crate) help: &'static str,
}

impl Setting {
    /// `METRICKIT_` and the key in capitals.
    pub(crate) fn variable(&self) -> String {
        format!("METRICKIT_{}", self.key.to_ascii_uppercase())
    }
}

/// Every setting of `server` and `up`, in the order of help.
pub(crate) const TABLE: &[Setting] = &[
    Setting {
        key: "listen",
        default: "127.0.0.1:9595",
        kind: Kind::Address,
        help: "Address of the HTTP API; port 0 takes a free one; 0.0.0.0:9595 serves other hosts too",
    },
    Setting {
        key: "data",
        default: "./metrickit-data",
        kind: Kind::Folder,
        help: "Folder of the database; made if it is not there; one process at a time",
    },
    Setting {
        key: "memory_max",
        default: "auto",
        kind: Kind::BytesOrAuto,
        help: "Memory of the whole server, shared out among its parts; auto: 85 % of the control group's limit, or 75 % of the machine",
    },
    Setting {
        key: "retention",
        default: "30d",
        kind: Kind::DurationOrOff,
        help: "How long samples are kept; off keeps all and takes samples of any time",
    },
    Setting {
        key: "retention_rules",
        default: "",
        kind: Kind::Rules,
        help: "Series kept for another time, or as summaries: '{env=\"dev\"} keep 7d; {job=\"api\"} raw 15d, 5m for 90d, 1h for 2y'; first match wins, a list in the file",
    },
    Setting {
        key: "disk_bytes_max",
        default: "0",
        kind: Kind::Bytes,
        help: "Size of the data folder above which the oldest days are dropped, whatever retention says; 0 for no limit",
    },
    Setting {
        key: "future_lead",
        default: "10m",
        kind: Kind::DurationOrOff,
        help: "How far ahead of this machine's clock samples may be",
    },
    Setting {
        key: "durability",
        default: "sync",
        kind: Kind::Choice(&["sync", "interval", "off"]),
        help: "When writes are acknowledged: on disk (sync), synced at intervals, or never synced (off)",
    },
    Setting {
        key: "durability_interval",
        default: "100ms",
        kind: Kind::Duration,
        help: "Time between syncs with --durability interval: what a power cut may cost",
    },
    Setting { key: "flush_age", default: "2h", kind: Kind::Duration, help: "Longest time between writing blocks" },
    Setting {
        key: "flush_log_bytes",
        default: "64MiB",
        kind: Kind::Bytes,
        help: "Log at which blocks are written; what is replayed after a crash at most, about",
    },
    Setting {
        key: "log_segment_bytes",
        default: "auto",
        kind: Kind::BytesOrAuto,
        help: "Length of one file of the log, read whole at a start; auto: an eighth of the head's share of memory_max, 1MiB to 16MiB",
    },
    Setting {
        key: "head_bytes_max",
        default: "auto",
        kind: Kind::BytesOrAuto,
        help: "Memory for samples in no block yet at which blocks are written; at twice that senders are told to come back later; auto: a third of its share of memory_max, at most 256MiB",
    },
    Setting {
        key: "maintenance_bytes_max",
        default: "auto",
        kind: Kind::BytesOrAuto,
        help: "Memory that flushing and merging work in; merges that need more wait or take fewer blocks; auto: its share of memory_max, at most 256MiB",
    },
    Setting {
        key: "column_cache_bytes",
        default: "auto",
        kind: Kind::BytesOrAuto,
        help: "Memory for decoded timestamps of blocks; auto: half of the caches' share of memory_max, at most 32MiB",
    },
    Setting {
        key: "series_max",
        default: "5000000",
        kind: Kind::Count,
        help: "Most series; samples of more are refused",
    },
    Setting {
        key: "series_per_metric_max",
        default: "1000000",
        kind: Kind::Count,
        help: "Most series of one metric name; samples of more are refused and the label with the most values is named; 0 for no limit",
    },
    Setting {
        key: "series_per_agent_max",
        default: "500000",
        kind: Kind::Count,
        help: "Most series of one agent, which is the host in label instance; samples of more are refused; 0 for no limit",
    },
    Setting {
        key: "delete_undo",
        default: "1d",
        kind: Kind::Duration,
        help: "How long a delete can be undone; then the space is freed",
    },
    Setting {
        key: "exemplars_max",
        default: "auto",
        kind: Kind::CountOrAuto,
        help: "Most exemplars, kept in memory with some 256 bytes each; the oldest make room; 0 keeps none; auto: as its share of memory_max allows, at most 100000",
    },
    Setting {
        key: "disk_reserve_bytes",
        default: "256MiB",
        kind: Kind::Bytes,
        help: "Free disk space at which writes are refused until space returns",
    },
    Setting {
        key: "request_bytes_max",
        default: "auto",
        kind: Kind::BytesOrAuto,
        help: "Longest body of a write request as it is sent; auto: an eighth of request_all_bytes_max, at most 16MiB",
    },
    Setting {
        key: "request_decompressed_bytes_max",
        default: "auto",
        kind: Kind::BytesOrAuto,
        help: "Longest body of a write request after decompression; auto: three eighths of request_all_bytes_max, at most 32MiB",
    },
    Setting {
        key: "request_all_bytes_max",
        default: "auto",
        kind: Kind::BytesOrAuto,
        help: "Memory of all write requests under way; more are told to come back later; auto: its share of memory_max, at most 128MiB",
    },
    Setting {
        key: "connections_max",
        default: "1024",
        kind: Kind::Count,
        help: "Most connections at once; more wait in the system's queue",
    },
    Setting {
        key: "query_lookback",
        default: "5m",
        kind: Kind::Duration,
        help: "How far back a selector looks for the newest sample",
    },
    Setting { key: "query_timeout", default: "2m", kind: Kind::Duration, help: "Longest time a query may take" },
    Setting {
        key: "query_samples_max",
        default: "50000000",
        kind: Kind::Count,
        help: "Most samples one query may read",
    },
    Setting { key: "query_series_max", default: "500000", kind: Kind::Count, help: "Most series one query may select" },
    Setting {
        key: "query_bytes_max",
        default: "auto",
        kind: Kind::BytesOrAuto,
        help: "Most memory one query may hold; auto: half of query_all_bytes_max, at most 1GiB",
    },
    Setting {
        key: "query_all_bytes_max",
        default: "auto",
        kind: Kind::BytesOrAuto,
        help: "Most memory all queries together may hold, an eighth of it for rules alone; auto: its share of memory_max, at most 2GiB",
    },
    Setting {
        key: "query_threads",
        default: "0",
        kind: Kind::Count,
        help: "Most threads that work on one query; 0 for one a core",
    },
    Setting {
        key: "query_slow_log",
        default: "10s",
        kind: Kind::Duration,
        help: "Queries that take this long or longer are logged and listed as slow",
    },
    Setting {
        key: "admin_api",
        default: "local",
        kind: Kind::Choice(&["local", "on", "off"]),
        help: "Who may flush, merge and delete by /api/v1/admin: programs on this machine (local), all (on), nobody (off)",
    },
    Setting {
        key: "backup_dir",
        default: "off",
        kind: Kind::Text,
        help: "Folder below which /api/v1/admin/backup takes backups; off: into any folder, but for programs on this machine only",
    },
    Setting {
        key: "profiles_dir",
        default: "off",
        kind: Kind::Text,
        help: "Folder of collection profiles for agents, ENVIRONMENT.toml and default.toml, taken up as they change; off: none",
    },
    Setting {
        key: "captures_bytes_max",
        default: "512MiB",
        kind: Kind::Bytes,
        help: "Disk for captured profiles and stacks; the oldest make room, those of alerts last",
    },
    Setting { key: "captures_max", default: "5000", kind: Kind::Count, help: "Most captured profiles and stacks kept" },
    Setting {
        key: "captures_age_max",
        default: "30d",
        kind: Kind::DurationOrOff,
        help: "Older captured profiles and stacks are removed",
    },
    Setting {
        key: "capture_bytes_max",
        default: "16MiB",
        kind: Kind::Bytes,
        help: "Longest captured profile, as it is sent",
    },
    Setting {
        key: "captures_per_hour_max",
        default: "30",
        kind: Kind::Count,
        help: "Most captures of one process in an hour; those that agents take by themselves are counted apart",
    },
    Setting {
        key: "rule_files",
        default: "",
        kind: Kind::List,
        help: "Files of recording and alerting rules as Prometheus has them: paths whose last part may have * and ?, separated by ';', a list in the file; read anew at SIGHUP and POST /-/reload",
    },
    Setting {
        key: "shipped_rules",
        default: "on",
        kind: Kind::Choice(&["on", "off"]),
        help: "Whether the rules that come with the program are evaluated, too: `metrickit rules shipped` lists them",
    },
    Setting {
        key: "evaluation_interval",
        default: "1m",
        kind: Kind::Duration,
        help: "Time between two evaluations of groups of rules that do not say",
    },
    Setting {
        key: "rule_query_offset",
        default: "off",
        kind: Kind::DurationOrOff,
        help: "How far back rules look in groups that do not say, for samples that come late",
    },
    Setting {
        key: "external_url",
        default: "auto",
        kind: Kind::Text,
        help: "Where people reach this server, for links in alerts; auto: the address it listens on",
    },
    Setting {
        key: "external_labels",
        default: "",
        kind: Kind::Labels,
        help: "Labels put on alerts as they leave: site=home,env=prod",
    },
    Setting {
        key: "alertmanagers",
        default: "",
        kind: Kind::List,
        help: "Alertmanagers elsewhere that get every alert: URLs such as http://am:9093, separated by ';', a list in the file",
    },
    Setting {
        key: "alertmanagers_file",
        default: "off",
        kind: Kind::Text,
        help: "File with Prometheus's section alerting:, prometheus.yml itself too: Alertmanagers that get every alert, with authentication, TLS and relabelling; read anew with the rules; off: none",
    },
    Setting {
        key: "alerting_config",
        default: "off",
        kind: Kind::Text,
        help: "File that says who is told of alerts, in Alertmanager's form; read anew at SIGHUP and POST /-/reload; off tells nobody",
    },
    Setting {
        key: "alerting_events_bytes_max",
        default: "64MiB",
        kind: Kind::Bytes,
        help: "Size of the log of what happened to alerts, in the folder alerting of the data; the oldest goes first",
    },
    Setting {
        key: "self_metrics_interval",
        default: "15s",
        kind: Kind::DurationOrOff,
        help: "Time between two writings of the server's own metrics into its store, with job=\"metrickit\", at most 1m; off: they are on /metrics alone",
    },
    Setting {
        key: "stop_timeout",
        default: "10s",
        kind: Kind::Duration,
        help: "Longest time that requests under way get to end after a signal to stop",
    },
    Setting {
        key: "log_level",
        default: "info",
        kind: Kind::Text,
        help: "error, warn, info, debug, trace, or a filter such as storage=debug,info",
    },
];

/// The setting with `key`.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.key == key)
}

/// Parses bytes: a whole number with an optional unit `B kB MB GB TB KiB MiB GiB TiB`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let malformed = || format!("{text:?} is no size; write it like 512MiB, 2GB or 1048576");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(malformed()),
    };
    let number: u64 = number.parse().map_err(|_| malformed())?;
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is more than 16 EiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_bytes(text: &str, want: Option<u64>) {
        assert_eq!(parse_bytes(text).ok(), want, "for {text:?}");
    }

    #[test]
    fn sizes() {
        check_bytes("1048576", Some(1 << 20));
        check_bytes("64MiB", Some(64 << 20));
        check_bytes("2 GB", Some(2_000_000_000));
        check_bytes("", None);
        check_bytes("MiB", None);
        check_bytes("-1", None);
        check_bytes("1.5GiB", None);
        check_bytes("1MiBs", None);
        check_bytes("99999999TiB", None);
    }

    #[test]
    fn keys_are_unique_words() {
        for (at, setting) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|other| other.key != setting.key), "{}", setting.key);
            assert!(setting.key.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{}", setting.key);
        }
    }
}
