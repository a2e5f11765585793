//! The thread that captures what leaks, and sends what could not be sent before.

use std::sync::Arc;
use std::time::Duration;

use model::Clock;

use super::Captures;
use super::send::Sender;
use crate::config::Config;
use crate::go::SharedProcesses;
use crate::go::outside::SharedTicks;
use crate::go::profile::capture::Capturer;
use crate::go::profile::sources::Sources;
use crate::go::profile::store::Store;
use crate::stats::Stats;
use crate::stop::StopFlag;
use crate::threads;

/// Time between two looks for what there is to do.
const TICK: Duration = Duration::from_secs(2);

/// What takes captures as `config` says, of `processes` and of those in `sources` that offer profiles. Where captures cannot be
/// kept there is none, and the agent does the rest of its work.
pub fn open(
    config: &Config,
    (processes, ticks): (&SharedProcesses, &SharedTicks),
    sources: Sources,
    clock: &Arc<dyn Clock>,
    stats: &Arc<Stats>,
) -> Option<Arc<Captures>> {
    let store = Store::open(&config.profiles, clock.now().0)
        .map_err(|error| tracing::warn!(%error, "nothing is captured; the agent goes on without"))
        .ok()?;
    let capturer = Capturer::new(sources, Arc::new(store), Arc::clone(clock));
    let server = config.control.server.as_deref();
    let sender = server.map(|server| Sender::new(server, &config.host, &config.push));
    let shared = (Arc::clone(clock), Arc::clone(stats));
    let all = Captures::new(Arc::clone(processes), capturer, Arc::clone(ticks), shared, sender);
    all.configure(&config.go);
    Some(Arc::new(all))
}

/// Starts it.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn start(captures: &Arc<Captures>, stop: &StopFlag) -> std::io::Result<()> {
    let (captures, stop) = (Arc::clone(captures), stop.clone());
    threads::start("agent-captures", &stop.clone(), move || {
        while !stop.wait(TICK) {
            captures.take_wanted();
            captures.send();
        }
    })
}
