//! Traffic of network interfaces: counters of sysinfo, and those it lacks from `/proc/net/dev`.

use sysinfo::{InterfaceOperationalState, Networks};

use super::{CollectError, Collector, float};
use crate::config::Config;
use crate::readings::{Metric, Readings};

const RECEIVED: Metric = Metric::counter("node_network_receive_bytes_total", "Bytes received.");
const SENT: Metric = Metric::counter("node_network_transmit_bytes_total", "Bytes sent.");
const RECEIVED_PACKETS: Metric = Metric::counter("node_network_receive_packets_total", "Packets received.");
const SENT_PACKETS: Metric = Metric::counter("node_network_transmit_packets_total", "Packets sent.");
const RECEIVE_ERRORS: Metric = Metric::counter("node_network_receive_errs_total", "Bad packets received.");
const SEND_ERRORS: Metric = Metric::counter("node_network_transmit_errs_total", "Errors when sending.");
const RECEIVE_DROPS: Metric = Metric::counter("node_network_receive_drop_total", "Packets received and dropped.");
const SEND_DROPS: Metric = Metric::counter("node_network_transmit_drop_total", "Packets dropped when sending.");
const MTU: Metric = Metric::gauge("node_network_mtu_bytes", "Largest packet.");
const UP: Metric = Metric::gauge("node_network_up", "Whether the interface is operational.");

/// Most interfaces that are reported.
const INTERFACES_MAX: usize = 256;

/// Reads network interfaces.
#[derive(Debug)]
pub(super) struct Network {
    networks: Option<Networks>,
    ignore: Vec<String>,
}

impl Network {
    /// Leaves out interfaces whose names begin with one of `ignore`.
    pub(super) fn new(ignore: Vec<String>) -> Self {
        Self { networks: None, ignore }
    }
}

impl Collector for Network {
    fn name(&self) -> &'static str {
        "network"
    }

    fn configure(&mut self, config: &Config) {
        self.ignore.clone_from(&config.collect.network_ignore);
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let failed = |error| CollectError::new("network interfaces", format!("{error:?}"));
        let networks = match &mut self.networks {
            Some(networks) => networks,
            none => none.insert(Networks::new().map_err(failed)?),
        };
        networks.refresh(true);
        let kept = |name: &str| !self.ignore.iter().any(|prefix| name.starts_with(prefix.as_str()));
        let named = networks.iter().map(|(name, data)| (name.to_string_lossy(), data));
        for (name, data) in first_by_name(named.filter(|(name, _)| kept(name))) {
            let labels = [("device", &*name)];
            out.push(&RECEIVED, &labels, float(data.total_received()));
            out.push(&SENT, &labels, float(data.total_transmitted()));
            out.push(&RECEIVED_PACKETS, &labels, float(data.total_packets_received()));
            out.push(&SENT_PACKETS, &labels, float(data.total_packets_transmitted()));
            out.push(&RECEIVE_ERRORS, &labels, float(data.total_errors_on_received()));
            out.push(&SEND_ERRORS, &labels, float(data.total_errors_on_transmitted()));
            out.push(&MTU, &labels, float(data.mtu()));
            let up = data.operational_state() == InterfaceOperationalState::Up;
            out.push(&UP, &labels, if up { 1.0 } else { 0.0 });
        }
        let drops = procfs::net::dev_status().map_err(|error| CollectError::new("/proc/net/dev", error))?;
        for (name, device) in first_by_name(drops.iter().filter(|(name, _)| kept(name))) {
            let labels = [("device", name.as_str())];
            out.push(&RECEIVE_DROPS, &labels, float(device.recv_drop));
            out.push(&SEND_DROPS, &labels, float(device.sent_drop));
        }
        Ok(())
    }
}

/// The first [`INTERFACES_MAX`] by name: the same in every round, so that no series comes and goes.
fn first_by_name<N: Ord, D>(interfaces: impl Iterator<Item = (N, D)>) -> Vec<(N, D)> {
    let mut interfaces: Vec<_> = interfaces.collect();
    interfaces.sort_by(|a, b| a.0.cmp(&b.0));
    interfaces.truncate(INTERFACES_MAX);
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_the_same_interfaces_are_told_each_time() {
        let names =
            |order: &mut dyn Iterator<Item = u32>| first_by_name(order.map(|number| (format!("if{number:04}"), ())));
        let told = names(&mut (0..1000));
        assert_eq!(told.len(), INTERFACES_MAX);
        assert_eq!(told, names(&mut (0..1000).rev()));
    }
}
