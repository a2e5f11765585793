//! A flag that ends the agent: set once from any thread, waited on by all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// A stop request that threads wait on. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// The thread whose panic was the reason.
    failed: Option<&'static str>,
    /// How often those who wait for news were woken.
    nudges: u64,
}

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone to stop. Setting it again changes nothing.
    pub fn stop(&self) {
        self.0.state.lock().stopped = true;
        self.0.changed.notify_all();
    }

    /// Asks everyone to stop since the thread `name` panicked.
    pub fn fail(&self, name: &'static str) {
        self.0.state.lock().failed.get_or_insert(name);
        self.stop();
    }

    /// The thread whose panic ended all, if one did.
    pub fn failed(&self) -> Option<&'static str> {
        self.0.state.lock().failed
    }

    /// Whether a stop was asked for.
    pub fn is_stopped(&self) -> bool {
        self.0.state.lock().stopped
    }

    /// Sleeps for `pause` or until a stop is asked for, whichever is first; tells whether to stop.
    pub fn wait(&self, pause: Duration) -> bool {
        self.wait_while(pause, |_| true)
    }

    /// Wakes those who wait for news.
    pub fn nudge(&self) {
        self.0.state.lock().nudges += 1;
        self.0.changed.notify_all();
    }

    /// As [`wait`](Self::wait), but until there was a nudge since `seen` at most, which is brought up to date.
    pub fn wait_for_news(&self, pause: Duration, seen: &mut u64) -> bool {
        let known = *seen;
        let stopped = self.wait_while(pause, |nudges| nudges == known);
        *seen = self.0.state.lock().nudges;
        stopped
    }

    fn wait_while(&self, pause: Duration, quiet: impl Fn(u64) -> bool) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.0.state.lock();
        while !state.stopped && quiet(state.nudges) {
            if self.0.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.stopped
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

    #[test]
    fn news_wake_those_who_wait_for_them_once() {
        let (flag, mut seen) = (StopFlag::new(), 0);
        flag.nudge();
        assert!(!flag.wait_for_news(Duration::from_mins(10), &mut seen), "there was a nudge before");
        assert_eq!(seen, 1);
        assert!(!flag.wait_for_news(Duration::from_millis(1), &mut seen));
        flag.nudge();
        assert!(!flag.wait(Duration::from_millis(1)), "others sleep on");
        flag.stop();
        assert!(flag.wait_for_news(Duration::from_mins(10), &mut seen));
    }
}
