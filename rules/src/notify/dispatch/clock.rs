//! A clock that is set back: what waits goes on waiting for as long as it had to, and nothing waits for the old time to come again. One that is set
//! forward: nothing ends by that alone.
//!
//! Everything that was measured from the old time is taken back by as much. Silences, acknowledgements and time intervals are people's, who mean the
//! time of the wall, and stay.

use super::Dispatcher;
use crate::evaluate::schedule::STEP_MS_MIN;
use crate::event::EventKind;
use crate::notify::stored;

impl Dispatcher {
    /// The clock was set forward by `by_ms`, to `now_ms`, or the machine slept. What fired until then fires until its sender had the time to say so
    /// again, as after a start.
    pub fn set_forward(&mut self, by_ms: i64, now_ms: i64) {
        let timeout_ms = self.config.resolve_timeout_ms;
        let extended = self.alerts.set_forward(now_ms.saturating_sub(by_ms), now_ms.saturating_add(timeout_ms));
        for alert in extended {
            if let Some(kept) = self.alerts.get(alert) {
                self.changed.insert(stored::alert_key(alert), Some(stored::alert_value(kept)));
            }
        }
        let message = format!(
            "the clock was set forward by {} s; what fires does so for {} s at least, unless its sender says that it ended",
            by_ms / 1000,
            timeout_ms / 1000
        );
        self.record(now_ms, EventKind::Note { message });
    }

    /// Takes note of the time; where it is before the latest, everything is taken back by as much.
    pub(super) fn watch_clock(&mut self, now_ms: i64) {
        let by_ms = self.seen_ms.saturating_sub(now_ms);
        if by_ms < STEP_MS_MIN {
            self.seen_ms = self.seen_ms.max(now_ms);
            return;
        }
        self.seen_ms = now_ms;
        self.alerts.set_back(by_ms, now_ms);
        self.log.set_back(by_ms);
        self.heartbeat.set_back(by_ms);
        self.housekeeping_ms = self.housekeeping_ms.saturating_sub(by_ms);
        self.queue.clear();
        for (id, group) in &mut self.groups {
            group.set_back(by_ms);
            self.queue.insert((group.due_ms(), id.clone()));
            Self::shelve_timer(&mut self.changed, id, group);
        }
        for (alert, kept) in self.alerts.iter() {
            self.changed.insert(stored::alert_key(alert), Some(stored::alert_value(kept)));
        }
        for (key, entry) in self.log.iter() {
            self.changed.insert(stored::told_key(key), Some(stored::told_value(entry)));
        }
        let message =
            format!("the clock was set back by {} s; what waits for its time goes on from there", by_ms / 1000);
        self.record(now_ms, EventKind::Note { message });
    }
}
