//! The thread that reads profiles.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use model::Clock;

use super::poll::Profiler;
use crate::budget::{CpuMeter, Part};
use crate::control::Follower;
use crate::readings::Readings;
use crate::send::Outbox;
use crate::stats::Stats;
use crate::stop::StopFlag;
use crate::threads;

/// Time before the first round, in which pages are found and memory is read.
const FIRST_ROUND_DELAY: Duration = Duration::from_millis(1500);
/// Time between two looks whether there is still nothing to do; news come at once.
const OFF_PAUSE: Duration = Duration::from_hours(1);

/// Starts reading in rounds at every look for processes, as the configuration that `follower` knows says; the receiver hears when
/// everything has been marked stale after a stop.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn start(
    profiler: Profiler,
    mut follower: Follower,
    outbox: Outbox,
    stop: &StopFlag,
    stats: &Arc<Stats>,
    clock: &Arc<dyn Clock>,
) -> std::io::Result<mpsc::Receiver<()>> {
    let mut profiler = profiler.stopped_by(stop.clone());
    let (stop, stats, clock) = (stop.clone(), Arc::clone(stats), Arc::clone(clock));
    let (tell, ended) = mpsc::sync_channel(1);
    threads::start("agent-profile", &stop.clone(), move || {
        let mut pause = FIRST_ROUND_DELAY;
        while !follower.wait(&stop, if profiler.is_off() { OFF_PAUSE } else { pause }) {
            let meter = CpuMeter::start();
            if let Some((before, now)) = follower.news() {
                if now.is_shaped_otherwise_than(&before) {
                    let mut last = Readings::new(clock.now().0);
                    profiler.end(&mut last);
                    outbox.submit(&last);
                    outbox.reshape(&now);
                }
                profiler.configure(&before, &now);
            }
            let stretch = u32::try_from(stats.stretch.get()).unwrap_or(1).max(1);
            let (own_stretch, shed) = stats.level(Part::Pprof);
            let mut sink = |readings: Readings| outbox.submit(&readings);
            if shed.is_some() {
                profiler.leave_out(&mut sink);
            } else {
                profiler.round(Instant::now(), stretch.saturating_mul(own_stretch), &mut sink);
            }
            stats.spent(Part::Pprof, meter.elapsed_us());
            pause = follower.config().go.discover_interval;
        }
        let mut last = Readings::new(clock.now().0);
        profiler.end(&mut last);
        if !last.is_empty() {
            outbox.submit(&last);
        }
        let _ = tell.send(());
    })?;
    Ok(ended)
}
