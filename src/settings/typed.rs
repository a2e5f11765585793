//! Settings as checked values, as the engine, the write routes and the server take them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ingest::IngestLimits;
use server::{AdminAccess, CaptureOptions, ProfileOptions, ServeOptions, ServerOptions};
use storage::{Durability, EngineOptions};

use super::memory::Memory;
use super::memory_limit::MemoryLimit;
use super::{Resolved, SettingsError, alerting, layers, lifetimes};

/// What `server` and `up` run with.
#[derive(Debug, Clone)]
pub(crate) struct ServerSettings {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// The folder of the database.
    pub(crate) data: PathBuf,
    /// The engine's.
    pub(crate) engine: EngineOptions,
    /// The write routes'.
    pub(crate) ingest: IngestLimits,
    /// The query API's.
    pub(crate) server: ServerOptions,
    /// The listener's.
    pub(crate) serve: ServeOptions,
    /// What the limits on memory follow from.
    pub(crate) memory: Memory,
}

impl ServerSettings {
    /// The values of `resolved`, whose texts are checked already, on this machine.
    pub(crate) fn new(resolved: &Resolved) -> Result<Self, SettingsError> {
        Self::within(resolved, &MemoryLimit::find(Path::new("/")))
    }

    /// As [`new`](Self::new) with so much memory.
    fn within(resolved: &Resolved, limit: &MemoryLimit) -> Result<Self, SettingsError> {
        let memory = Memory::new(resolved, limit)?;
        let listen = layers::address(resolved.text("listen")).map_err(wrong(resolved, "listen"))?;
        let ms = |key: &str| resolved.duration_ms(key).unwrap_or(i64::MAX);
        let unsigned_ms = |key: &str| ms(key).unsigned_abs();
        let engine = EngineOptions {
            durability: match resolved.text("durability") {
                "off" => Durability::Off,
                "interval" => Durability::Interval { interval_ms: unsigned_ms("durability_interval") },
                _ => Durability::Sync,
            },
            retention_ms: resolved.duration_ms("retention"),
            lifetimes: lifetimes::parse(resolved.text("retention_rules"))
                .map_err(wrong(resolved, "retention_rules"))?,
            disk_bytes_max: resolved.bytes("disk_bytes_max"),
            future_lead_ms: resolved.duration_ms("future_lead"),
            flush_age_ms: ms("flush_age"),
            flush_log_bytes: resolved.bytes("flush_log_bytes"),
            series_max: resolved.count("series_max"),
            series_per_metric_max: resolved.count("series_per_metric_max"),
            series_per_agent_max: resolved.count("series_per_agent_max"),
            delete_undo_ms: ms("delete_undo"),
            disk_reserve_bytes: resolved.bytes("disk_reserve_bytes"),
            ..EngineOptions::default()
        };
        let engine = memory.engine(engine);
        let ingest = memory.ingest(IngestLimits::default());
        let defaults = query::QueryOptions::default();
        let (query_bytes_max, query_all_bytes_max) =
            memory.queries((defaults.bytes_max, query::QUERIES_BYTES_MAX_DEFAULT));
        let threads_max = Some(resolved.count("query_threads")).filter(|&threads| threads > 0);
        let threads_max = threads_max.unwrap_or(defaults.threads_max);
        let query = query::QueryOptions {
            lookback_ms: ms("query_lookback"),
            timeout_ms: unsigned_ms("query_timeout"),
            samples_max: resolved.count("query_samples_max") as u64,
            series_max: resolved.count("query_series_max"),
            bytes_max: query_bytes_max,
            threads_max,
            // Callers have a thread each; what is beside them is shared.
            resources: Arc::new(query::Resources::new(query_all_bytes_max, threads_max - 1)),
            ..defaults
        };
        let told = [
            ("storage.tsdb.retention.time", "retention"),
            ("storage.tsdb.retention.size", "disk_bytes_max"),
            ("storage.retention.rules", "retention_rules"),
        ];
        let settings = told.map(|(name, key)| (name.to_owned(), resolved.text(key).to_owned())).to_vec();
        let slow_log_ms = unsigned_ms("query_slow_log");
        let admin = match resolved.text("admin_api") {
            "on" => AdminAccess::On,
            "off" => AdminAccess::Off,
            _ => AdminAccess::Local,
        };
        let backup_dir = Some(resolved.text("backup_dir")).filter(|&dir| dir != "off").map(PathBuf::from);
        let data = PathBuf::from(resolved.text("data"));
        let captures = captures(resolved, &data);
        alerting::check_alertmanagers(resolved).map_err(wrong(resolved, "alertmanagers"))?;
        let self_metrics = alerting::self_metrics(resolved).map_err(wrong(resolved, "self_metrics_interval"))?;
        let server = ServerOptions {
            query,
            captures,
            slow_log_ms,
            admin,
            backup_dir,
            settings,
            memory: memory.budget,
            profiles: ProfileOptions {
                dir: Some(resolved.text("profiles_dir")).filter(|&dir| dir != "off").map(PathBuf::from),
                check: |text| agent::config::profile::check(text).map(drop).map_err(|error| error.to_string()),
            },
            alerting: alerting::options(resolved),
            notify: alerting::notify(resolved),
            self_metrics,
            agents_waiting_max: resolved.count("connections_max") / 2,
            ..ServerOptions::default()
        };
        let serve = ServeOptions {
            connections_max: resolved.count("connections_max"),
            drain_ms: unsigned_ms("stop_timeout"),
            ..ServeOptions::default()
        };
        Ok(Self { listen, data, engine, ingest, server, serve, memory })
    }

    /// Settings for reading the folder `data`, whatever it was written with: retention must drop nothing.
    pub(crate) fn for_reading(data: &Path) -> Self {
        let memory = Memory::found(&MemoryLimit::find(Path::new("/")));
        let engine = EngineOptions { retention_ms: None, background: false, ..EngineOptions::default() };
        let defaults = query::QueryOptions::default();
        let (bytes_max, all_bytes_max) = memory.queries((defaults.bytes_max, query::QUERIES_BYTES_MAX_DEFAULT));
        let resources = Arc::new(query::Resources::new(all_bytes_max, defaults.threads_max - 1));
        let query = query::QueryOptions { bytes_max, resources, ..defaults };
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: data.to_owned(),
            engine: memory.engine(engine),
            ingest: memory.ingest(IngestLimits::default()),
            server: ServerOptions {
                query,
                memory: memory.budget,
                // Who reads a folder changes nothing in it.
                alerting: server::AlertingOptions { threads: 0, ..server::AlertingOptions::default() },
                ..ServerOptions::default()
            },
            serve: ServeOptions { drain_ms: 0, ..ServeOptions::default() },
            memory,
        }
    }
}

/// Bounds on captures, which lie in the folder `data`.
/// What is wrong with the setting `key`, once it is known why.
fn wrong(resolved: &Resolved, key: &'static str) -> impl FnOnce(String) -> SettingsError {
    let origin = resolved.origin(key).clone();
    move |reason| SettingsError::Value { key, origin, reason }
}

fn captures(resolved: &Resolved, data: &Path) -> CaptureOptions {
    CaptureOptions {
        folder: Some(data.join("captures")),
        bytes_max: resolved.bytes("captures_bytes_max"),
        captures_max: resolved.count("captures_max"),
        age_max_ms: resolved.duration_ms("captures_age_max"),
        capture_bytes_max: usize::try_from(resolved.bytes("capture_bytes_max")).unwrap_or(usize::MAX),
        per_hour_max: resolved.count("captures_per_hour_max"),
        disk_reserve_bytes: resolved.bytes("disk_reserve_bytes"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::settings::memory_limit::Bound;
    use crate::settings::resolve;

    fn settings(flags: &[(&'static str, &str)]) -> ServerSettings {
        let flags: BTreeMap<_, _> = flags.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        let resolved = resolve(None, |_| None, &flags).expect("valid");
        let large = MemoryLimit { bytes: 64 << 30, bound: Bound::Machine };
        ServerSettings::within(&resolved, &large).expect("valid")
    }

    #[test]
    fn defaults_are_those_of_the_rooms() {
        let defaults = settings(&[]);
        assert_eq!(defaults.engine, EngineOptions::default());
        assert_eq!(defaults.ingest, IngestLimits::default());
        assert_eq!(defaults.server.query, query::QueryOptions::default());
        assert_eq!((defaults.server.admin, defaults.server.backup_dir), (AdminAccess::default(), None));
        let captures = CaptureOptions {
            folder: Some(PathBuf::from("./metrickit-data/captures")),
            disk_reserve_bytes: 256 << 20,
            ..CaptureOptions::default()
        };
        assert_eq!(defaults.server.captures, captures);
        let alerting = server::AlertingOptions { shipped_rules: true, ..server::AlertingOptions::default() };
        assert_eq!(defaults.server.alerting, alerting);
        let notify = server::NotifyOptions {
            events_dir: Some(PathBuf::from("./metrickit-data/alerting")),
            ..server::NotifyOptions::default()
        };
        assert_eq!(defaults.server.notify, notify);
        assert_eq!(defaults.server.self_metrics.interval_ms, 15_000);
        let without = settings(&[("self_metrics_interval", "off")]).server;
        assert_eq!((without.self_metrics.interval_ms, without.alerting.self_metrics), (0, false));
        let serve = ServeOptions::default();
        assert_eq!((defaults.serve.connections_max, defaults.serve.drain_ms), (serve.connections_max, serve.drain_ms));
        assert_eq!(defaults.listen, SocketAddr::from(([127, 0, 0, 1], 9595)));
    }

    #[test]
    fn values_reach_their_rooms() {
        let changed = settings(&[
            ("retention", "off"),
            ("durability", "interval"),
            ("durability_interval", "250ms"),
            ("exemplars_max", "5"),
            ("retention_rules", "up keep 2d"),
            ("disk_bytes_max", "1GiB"),
            ("query_samples_max", "7"),
            ("query_threads", "3"),
            ("query_all_bytes_max", "9MiB"),
            ("query_slow_log", "3s"),
            ("request_bytes_max", "1MiB"),
            ("admin_api", "off"),
            ("backup_dir", "/b"),
            ("alerting_config", "am.yml"),
            ("rule_files", "a/*.yml; b.yml"),
            ("shipped_rules", "off"),
            ("evaluation_interval", "1s"),
            ("rule_query_offset", "2s"),
            ("external_labels", "site=home"),
            ("listen", ":0"),
        ]);
        assert_eq!(changed.engine.retention_ms, None);
        assert_eq!(changed.engine.durability, Durability::Interval { interval_ms: 250 });
        assert_eq!(changed.engine.exemplars_max, 5);
        assert_eq!(changed.engine.lifetimes.len(), 1);
        assert_eq!((changed.engine.lifetimes[0].raw_ms, changed.engine.disk_bytes_max), (Some(172_800_000), 1 << 30));
        assert_eq!(changed.server.query.samples_max, 7);
        assert_eq!((changed.server.query.threads_max, changed.server.slow_log_ms), (3, 3000));
        assert_eq!(*changed.server.query.resources, query::Resources::new(9 << 20, 2));
        assert_eq!(changed.ingest.body_bytes_max, 1 << 20);
        assert_eq!((changed.server.admin, changed.server.backup_dir), (AdminAccess::Off, Some(PathBuf::from("/b"))));
        assert!(changed.listen.ip().is_unspecified());
        assert_eq!(changed.server.notify.file, Some(PathBuf::from("am.yml")));
        let alerting = changed.server.alerting;
        assert_eq!((alerting.interval_ms, alerting.query_offset_ms, alerting.rule_files.len()), (1000, 2000, 2));
        assert_eq!((alerting.external_labels["site"].as_str(), alerting.shipped_rules), ("home", false));
    }
}
