//! Which TCP ports a process listens on that a client on this host reaches through the loopback interface.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};

use super::sockets;

/// Most listening ports of one process that are looked at.
pub const PORTS_MAX: usize = 16;
/// Most file descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 65_536;

/// The sockets of the agent's network that listen, as of the first question: listed once for many processes.
#[derive(Debug, Default)]
pub struct Listeners {
    /// By inode.
    table: Option<HashMap<u64, SocketAddr>>,
}

impl Listeners {
    /// Asks when the first process is looked at.
    pub fn new() -> Self {
        Self::default()
    }

    /// The addresses to reach the listeners of process `pid`, by port. Empty when they may not be seen, or are in another
    /// network.
    pub fn of(&mut self, pid: i32) -> Vec<SocketAddr> {
        let Ok(descriptors) = Process::new(pid).and_then(|process| process.fd()) else { return Vec::new() };
        let sockets = descriptors.take(DESCRIPTORS_MAX).flatten().filter_map(|descriptor| match descriptor.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        });
        reachable(sockets.filter_map(|inode| self.table.get_or_insert_with(listening).get(&inode).copied()))
    }
}

fn listening() -> HashMap<u64, SocketAddr> {
    sockets::listening().map_or_else(|_| of_tables(), |found| found.into_iter().collect())
}

/// As files tell, for those who may not ask the kernel otherwise.
fn of_tables() -> HashMap<u64, SocketAddr> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flat_map(Result::unwrap_or_default);
    let listening = tables.filter(|entry| entry.state == TcpState::Listen);
    listening.map(|entry| (entry.inode, entry.local_address)).collect()
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
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_what_loopback_reaches() {
        let listening = ["[::]:90", "0.0.0.0:80", "[::1]:80", "[::1]:85", "10.0.0.1:70", "[2001:db8::1]:60"];
        let found = reachable(listening.iter().map(|local| local.parse().expect("an address")));
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:80", "[::1]:85", "127.0.0.1:90"]);
    }

    /// Whether this process is found to listen at the port of `listener`, or at too many to tell.
    fn has(found: &[SocketAddr], listener: &TcpListener) -> bool {
        let port = listener.local_addr().expect("bound").port();
        found.len() == PORTS_MAX || found.iter().any(|address| address.port() == port)
    }

    #[test]
    fn listeners_of_this_process_are_found_and_listed_once() {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = i32::try_from(std::process::id()).expect("an id");
        let (first, mut listeners) = (bind(), Listeners::new());
        let found = listeners.of(own);
        assert!(has(&found, &first), "{found:?}");
        let second = bind();
        let found = listeners.of(own);
        assert!(has(&found, &first) && (!has(&found, &second) || found.len() == PORTS_MAX), "{found:?}");
        let found = Listeners::new().of(own);
        assert!(has(&found, &first) && has(&found, &second), "{found:?}");
        let found = Listeners { table: Some(of_tables()) }.of(own);
        assert!(has(&found, &first) && has(&found, &second), "files tell the same: {found:?}");
    }
}
