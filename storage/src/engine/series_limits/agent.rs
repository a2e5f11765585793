//! Whose series it is: the agent of a series is the host that its label `instance` names.
//!
//! MetricKit's agent writes `HOST` for the host, `HOST/SLOT` for a process on it and `HOST:PORT` for a page it reads
//! there, so that all that one agent sends has one host in common, and what Prometheus sends is told apart by
//! the host it was read from. A label and no header decides, because only labels tell after a restart, and when a series is
//! removed, whose it was. A series without `instance`, such as a sum over all hosts, is nobody's.

use model::LabelsRef;

/// The label that names the host.
pub(in crate::engine) const INSTANCE: &str = "instance";

/// The agent of a series.
pub(super) fn agent_of(labels: LabelsRef<'_>) -> Option<&str> {
    labels.get(INSTANCE).and_then(agent_of_instance)
}

/// The agent of the series with this `instance`: its host, without a port, a path, a slot or a scheme.
pub(in crate::engine) fn agent_of_instance(instance: &str) -> Option<&str> {
    let address = instance.split_once("://").map_or(instance, |(_, address)| address);
    let address = address.split_once('/').map_or(address, |(address, _)| address);
    let host = match address.rsplit_once(':') {
        // Of an address of IPv6 without brackets, nobody knows whether the last part is a port.
        Some((host, port)) if is_port(port) && (!host.contains(':') || host.ends_with(']')) => host,
        _ => address,
    };
    (!host.is_empty()).then_some(host)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(instance: &str, want: &str) {
        assert_eq!(agent_of_instance(instance), Some(want).filter(|want| !want.is_empty()), "for {instance:?}");
    }

    #[test]
    fn the_agent_is_the_host_of_the_instance() {
        check("web1", "web1");
        check("web1/0", "web1");
        check("web1:9187", "web1");
        check("10.0.0.7:8080", "10.0.0.7");
        check("[2001:db8::7]:8080", "[2001:db8::7]");
        check("2001:db8::7", "2001:db8::7");
        check("https://shop.example.com:8443/health", "shop.example.com");
        check("web1:http", "web1:http");
        check("web1:", "web1:");
        check("", "");
        check("/0", "");
        check(":9187", "");
    }
}
