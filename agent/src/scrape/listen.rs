//! Which TCP ports a process listens on that a client on this host reaches through the loopback interface.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};

/// Most listening ports of one process that are looked at.
pub const PORTS_MAX: usize = 16;
/// Most file descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 65_536;

/// The addresses to reach the listeners of process `pid`, by port. Empty when they may not be seen.
pub fn addresses(pid: i32) -> Vec<SocketAddr> {
    let Ok(process) = Process::new(pid) else { return Vec::new() };
    let Ok(descriptors) = process.fd() else { return Vec::new() };
    let sockets: HashSet<u64> = descriptors
        .take(DESCRIPTORS_MAX)
        .flatten()
        .filter_map(|descriptor| match descriptor.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    if sockets.is_empty() {
        return Vec::new();
    }
    let tables = [process.tcp(), process.tcp6()].into_iter().flat_map(Result::unwrap_or_default);
    let listening = tables.filter(|entry| entry.state == TcpState::Listen && sockets.contains(&entry.inode));
    reachable(listening.map(|entry| entry.local_address))
}

fn reachable(listening: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = listening.filter_map(loopback).collect();
    found.sort_by_key(|address| (address.port(), address.is_ipv6()));
    found.dedup_by_key(|address| address.port());
    found.truncate(PORTS_MAX);
    found
}

/// How to reach a listener at `local` by loopback. One bound to another address of the host is not tried.
fn loopback(local: SocketAddr) -> Option<SocketAddr> {
    let address = match local.ip() {
        IpAddr::V4(address) if address.is_loopback() => IpAddr::V4(address),
        IpAddr::V6(address) if address.is_loopback() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        // Go listens on both families through `::`.
        address if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => return None,
    };
    Some(SocketAddr::new(address, local.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_loopback_reaches() {
        let listening = ["[::]:90", "0.0.0.0:80", "[::1]:80", "[::1]:85", "10.0.0.1:70", "[2001:db8::1]:60"];
        let found = reachable(listening.iter().map(|local| local.parse().expect("an address")));
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:80", "[::1]:85", "127.0.0.1:90"]);
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let own = i32::try_from(std::process::id()).expect("an id");
        let found = addresses(own);
        assert!(found.len() == PORTS_MAX || found.iter().any(|address| address.port() == port), "{found:?}");
    }
}
