//! A flag that ends the agent: set once from any thread, waited on by all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// A stop request that threads wait on. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone to stop. Setting it again changes nothing.
    pub fn stop(&self) {
        *self.0.stopped.lock() = true;
        self.0.changed.notify_all();
    }

    /// Whether a stop was asked for.
    pub fn is_stopped(&self) -> bool {
        *self.0.stopped.lock()
    }

    /// Sleeps for `pause` or until a stop is asked for, whichever is first; tells whether to stop.
    pub fn wait(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut stopped = self.0.stopped.lock();
        while !*stopped {
            if self.0.changed.wait_until(&mut stopped, deadline).timed_out() {
                break;
            }
        }
        *stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_at_a_stop() {
        let flag = StopFlag::new();
        assert!(!flag.wait(Duration::from_millis(1)));
        let other = flag.clone();
        let waiter = std::thread::spawn(move || other.wait(Duration::from_mins(10)));
        flag.stop();
        assert!(waiter.join().expect("the waiter ends"));
        assert!(flag.is_stopped() && flag.wait(Duration::from_mins(10)));
    }
}
