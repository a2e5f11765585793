//! Collectors: each reads one part of the host and writes samples. They share the metric names of `node_exporter`, so
//! that existing dashboards and rules work. `schedule` decides when each runs.

mod host_cpu;
mod host_disk;
mod host_filesystem;
mod host_load;
mod host_memory;
mod host_network;
mod host_system;
pub mod schedule;
mod statvfs;

pub use schedule::Schedule;

use crate::config::{CollectConfig, Config};
use crate::readings::Readings;

/// Why a collector could not read its source. It is tried again in the next round.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {detail}")]
pub struct CollectError {
    /// What was read.
    pub what: String,
    /// What happened.
    pub detail: String,
}

impl CollectError {
    /// A failure to read `what`.
    pub fn new(what: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self { what: what.into(), detail: detail.to_string() }
    }
}

/// Something that reads one part of the host.
pub trait Collector: Send + std::fmt::Debug {
    /// Its name in configuration and self-metrics.
    fn name(&self) -> &'static str;

    /// Reads once. What was written before an error is kept.
    ///
    /// # Errors
    ///
    /// When its source cannot be read.
    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError>;

    /// Whether it marks as stale itself what it stops reporting, since not each of its runs reports everything.
    fn marks_stale(&self) -> bool {
        false
    }

    /// Takes up a changed configuration; what it knows of its source stays.
    fn configure(&mut self, config: &Config) {
        let _ = config;
    }

    /// Adds stale markers for every series that it marks itself: the agent stops.
    fn end(&mut self, out: &mut Readings) {
        let _ = out;
    }
}

/// The host collectors that are switched on, with their least intervals in milliseconds.
pub fn host_collectors(config: &CollectConfig) -> Vec<(Box<dyn Collector>, i64)> {
    let mut all: Vec<(Box<dyn Collector>, i64)> = Vec::new();
    let mut add = |switch: crate::config::Switch, make: &dyn Fn() -> Box<dyn Collector>| {
        if switch.on {
            all.push((make(), switch.interval_ms));
        }
    };
    add(config.cpu, &|| Box::new(host_cpu::Cpu::default()));
    add(config.load, &|| Box::new(host_load::Load));
    add(config.memory, &|| Box::new(host_memory::Memory));
    add(config.filesystem, &|| Box::new(host_filesystem::Filesystem::new(config.filesystem_ignore.clone())));
    add(config.disk, &|| Box::new(host_disk::Disk));
    add(config.network, &|| Box::new(host_network::Network::new(config.network_ignore.clone())));
    add(config.system, &|| Box::new(host_system::System));
    all
}

/// Longest file of `/proc` that is read whole.
const PROC_FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads a file of `/proc`, bounded.
fn read_proc(path: &str) -> Result<String, CollectError> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PROC_FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| CollectError::new(path, error))?;
    Ok(text)
}

/// An integer as a sample value: exact up to 2^53, beyond that the nearest float, as in every exposition.
#[expect(clippy::cast_precision_loss, reason = "samples are floats; counters above 2^53 lose their last bits")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_collector_reads_this_host() {
        for (mut collector, _) in host_collectors(&Config::default().collect) {
            let mut readings = Readings::new(1);
            collector.collect(&mut readings).unwrap_or_else(|error| panic!("{}: {error}", collector.name()));
            let optional = matches!(collector.name(), "filesystem" | "disk" | "network");
            assert!(optional || !readings.is_empty(), "{} read nothing", collector.name());
            assert_eq!(readings.refused(), 0, "{}", collector.name());
        }
    }

    #[test]
    fn switches_switch() {
        let mut config = Config::default().collect;
        let all = host_collectors(&config).len();
        config.cpu.on = false;
        config.disk.on = false;
        let names: Vec<_> = host_collectors(&config).iter().map(|(collector, _)| collector.name()).collect();
        assert_eq!(names.len(), all - 2);
        assert!(!names.contains(&"cpu") && !names.contains(&"disk"));
    }
}
