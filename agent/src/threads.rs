//! The agent's own threads. One that panics ends the agent, which its service manager then starts anew: an agent of which a part has
//! silently stopped looks well and is not.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::stop::StopFlag;

/// Starts the thread `name`. Where `body` panics everything stops, and [`StopFlag::failed`] says who began.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn start(name: &'static str, stop: &StopFlag, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let guard = Guard { name, stop: stop.clone() };
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _guard = guard;
        body();
    })?;
    Ok(())
}

struct Guard {
    name: &'static str,
    stop: StopFlag,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(thread = self.name, "a thread panicked: the agent ends");
            self.stop.fail(self.name);
        }
    }
}

/// Waits at most `wait_max` in all for each of the threads to tell that its last is done; says who did not.
pub fn wait_for(threads: &[(&'static str, &mpsc::Receiver<()>)], wait_max: Duration) {
    let stopping = Instant::now();
    for (name, last) in threads {
        if last.recv_timeout(wait_max.saturating_sub(stopping.elapsed())).is_err() {
            tracing::warn!(thread = name, "it did not end in time for the stop; its series are not marked stale");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_one_thread_stops_all_and_is_known_by_name() {
        let stop = StopFlag::new();
        start("agent-test", &stop, || {}).expect("a thread");
        assert!(!stop.wait(Duration::from_millis(20)), "one that ends ends nothing else");
        assert_eq!(stop.failed(), None);
        start("agent-trial", &stop, || panic!("a fault of a test")).expect("a thread");
        assert!(stop.wait(Duration::from_mins(1)));
        assert_eq!(stop.failed(), Some("agent-trial"));
    }

    #[test]
    fn one_that_hangs_holds_up_the_stop_no_longer_than_the_bound() {
        let (tell, done) = mpsc::sync_channel(1);
        let (_never, hangs) = mpsc::sync_channel::<()>(1);
        tell.send(()).expect("a receiver");
        let began = Instant::now();
        wait_for(&[("hangs", &hangs), ("done", &done)], Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50));
        assert!(done.try_recv().is_err(), "what was told is heard although there was no time left");
    }
}
