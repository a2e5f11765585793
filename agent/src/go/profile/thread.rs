//! The thread that reads profiles.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use model::Clock;

use super::poll::Profiler;
use crate::budget::CpuMeter;
use crate::readings::Readings;
use crate::send::Outbox;
use crate::stats::Stats;
use crate::stop::StopFlag;

/// Time before the first round, in which pages are found and memory is read.
const FIRST_ROUND_DELAY: Duration = Duration::from_millis(1500);

/// Starts reading in rounds every `tick`; the receiver hears when everything has been marked stale after a stop.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn start(
    profiler: Profiler,
    tick: Duration,
    outbox: Outbox,
    stop: &StopFlag,
    stats: &Arc<Stats>,
    clock: &Arc<dyn Clock>,
) -> std::io::Result<mpsc::Receiver<()>> {
    let mut profiler = profiler.stopped_by(stop.clone());
    let (stop, stats, clock) = (stop.clone(), Arc::clone(stats), Arc::clone(clock));
    let (tell, ended) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("agent-profile".to_owned()).spawn(move || {
        let mut pause = FIRST_ROUND_DELAY;
        while !profiler.is_off() && !stop.wait(pause) {
            let meter = CpuMeter::start();
            let stretch = u32::try_from(stats.stretch.get()).unwrap_or(1).max(1);
            profiler.round(Instant::now(), stretch, &mut |readings| outbox.submit(&readings));
            stats.cpu_us.add(meter.elapsed_us());
            pause = tick;
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
