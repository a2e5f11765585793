//! The real ports of this host: which a process listens on, and whether one offers a page.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::listen::Listeners;
use super::probe::{PageKind, Ports, Probed};
use super::target::{Limits, Target};
use crate::go::profile::endpoint::Endpoint;
use crate::go::profile::index::Index;
use crate::http::Client;
use crate::stop::StopFlag;

/// Longest time a round spends on trying ports; the rest is left for the next.
const PROBING_MAX: Duration = Duration::from_secs(3);

/// The loopback ports of this host.
pub(crate) struct LoopbackPorts<'a> {
    client: &'a Client,
    limits: Limits,
    started: Instant,
    listeners: Listeners,
    stop: &'a StopFlag,
}

impl<'a> LoopbackPorts<'a> {
    /// Tries ports within `limits` for some seconds from now on, or until `stop`.
    pub(crate) fn new(client: &'a Client, limits: Limits, stop: &'a StopFlag) -> Self {
        Self { client, limits, started: Instant::now(), listeners: Listeners::new(), stop }
    }

    fn is_page(&self, address: SocketAddr, kind: PageKind) -> bool {
        let url = format!("http://{address}{}", kind.path());
        if kind == PageKind::Profiles {
            let page = Endpoint::Url(url).get(self.client, "", self.limits.timeout, self.limits.body_bytes_max);
            let page = page.ok().filter(|page| page.status == 200);
            return page.is_some_and(|page| Index::parse(&String::from_utf8_lossy(&page.body)).is_some());
        }
        let target = Target { url, labels: Vec::new(), process: None };
        let (readings, error) = target.scrape(self.client, &self.limits, 0);
        let telling = match kind {
            PageKind::Metrics => readings.value_of("scrape_samples_scraped") > Some(0.0),
            _ => readings.value_of("go_memstats_sys_bytes").is_some(),
        };
        error.is_none() && telling
    }
}

impl Ports for LoopbackPorts<'_> {
    fn addresses(&mut self, pid: i32) -> Vec<SocketAddr> {
        self.listeners.of(pid)
    }

    fn probe(&mut self, address: SocketAddr, kind: PageKind) -> Probed {
        if self.started.elapsed() > PROBING_MAX || self.stop.is_stopped() {
            return Probed::Later;
        }
        let offered = self.is_page(address, kind);
        tracing::debug!(%address, page = kind.path(), offered, "port tried");
        if offered { Probed::Offered } else { Probed::Nothing }
    }
}
