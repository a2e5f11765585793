//! The states of one alert: a plain function of what it was, what an evaluation saw, and when.
//!
//! The machine is Prometheus's (`rules/alerting.go`): no sample, no alert; the first sample makes it pending, and firing when it has been there
//! for as long as the rule's `for`; without a sample a firing one stays for `keep_firing_for`, is then resolved, and is remembered for
//! [`RESOLVED_MS`], so that its end is told although a message was lost.

/// How long a resolved alert is remembered.
pub const RESOLVED_MS: i64 = 15 * 60 * 1000;

/// Where an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has samples, but not for long enough.
    Pending,
    /// It is told.
    Firing,
    /// It was firing until `resolved_at_ms`.
    Resolved,
}

/// How long a rule waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// `for`: before it fires.
    pub hold_ms: i64,
    /// `keep_firing_for`: before it is resolved.
    pub keep_firing_ms: i64,
}

/// When an alert became what it is. All moments are those of evaluations, milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// What it is.
    pub state: State,
    /// When its first sample came.
    pub active_at_ms: i64,
    /// When it began to fire.
    pub fired_at_ms: Option<i64>,
    /// When its samples ended while it was firing; `None` while they come.
    pub keep_firing_since_ms: Option<i64>,
    /// When it ended.
    pub resolved_at_ms: Option<i64>,
}

impl Times {
    fn new(now_ms: i64) -> Self {
        Self {
            state: State::Pending,
            active_at_ms: now_ms,
            fired_at_ms: None,
            keep_firing_since_ms: None,
            resolved_at_ms: None,
        }
    }

    /// All of it `by_ms` earlier, as after a clock was set back.
    pub(crate) fn earlier(self, by_ms: i64) -> Self {
        let earlier = |at_ms: i64| at_ms.saturating_sub(by_ms);
        Self {
            state: self.state,
            active_at_ms: earlier(self.active_at_ms),
            fired_at_ms: self.fired_at_ms.map(earlier),
            keep_firing_since_ms: self.keep_firing_since_ms.map(earlier),
            resolved_at_ms: self.resolved_at_ms.map(earlier),
        }
    }

    /// The latest of its moments.
    pub(crate) fn latest_ms(&self) -> i64 {
        let others = [self.fired_at_ms, self.keep_firing_since_ms, self.resolved_at_ms];
        others.into_iter().flatten().fold(self.active_at_ms, i64::max)
    }

    /// Whether it is pending or firing.
    pub fn is_active(&self) -> bool {
        self.state != State::Resolved
    }

    /// With the evaluation at `now_ms`, which saw a sample of it.
    pub fn seen(before: Option<Self>, now_ms: i64, waits: Waits) -> Self {
        let mut times = before.filter(Self::is_active).unwrap_or_else(|| Self::new(now_ms));
        times.keep_firing_since_ms = None;
        times.waited(now_ms, waits)
    }

    /// With the evaluation at `now_ms`, which saw no sample of it; `None` when it is forgotten.
    pub fn unseen(self, now_ms: i64, waits: Waits) -> Option<Self> {
        match self.state {
            State::Pending => None,
            State::Resolved => self.resolved_at_ms.filter(|at| now_ms.saturating_sub(*at) <= RESOLVED_MS).map(|_| self),
            State::Firing => {
                let since_ms = self.keep_firing_since_ms.unwrap_or(now_ms);
                let kept = Self { keep_firing_since_ms: Some(since_ms), ..self };
                if now_ms.saturating_sub(since_ms) < waits.keep_firing_ms {
                    return Some(kept.waited(now_ms, waits));
                }
                Some(Self { state: State::Resolved, resolved_at_ms: Some(now_ms), ..kept })
            }
        }
    }

    /// Fires when it has waited; a rule whose `for` became longer takes it back.
    fn waited(self, now_ms: i64, waits: Waits) -> Self {
        let is_due = now_ms.saturating_sub(self.active_at_ms) >= waits.hold_ms;
        match (self.state, is_due) {
            (State::Pending, true) => Self { state: State::Firing, fired_at_ms: Some(now_ms), ..self },
            (State::Firing, false) => Self { state: State::Pending, fired_at_ms: None, ..self },
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(steps: &[(i64, bool)], waits: Waits) -> Vec<Option<Times>> {
        let mut now_ms = 0;
        let mut times: Option<Times> = None;
        let mut all = Vec::new();
        for (pause_ms, has_sample) in steps {
            now_ms += pause_ms;
            times = match has_sample {
                true => Some(Times::seen(times, now_ms, waits)),
                false => times.and_then(|times| times.unseen(now_ms, waits)),
            };
            all.push(times);
        }
        all
    }

    fn states(steps: &[(i64, bool)], waits: Waits) -> String {
        let letter = |times: &Option<Times>| match times.map(|times| times.state) {
            None => '-',
            Some(State::Pending) => 'p',
            Some(State::Firing) => 'f',
            Some(State::Resolved) => 'r',
        };
        run(steps, waits).iter().map(letter).collect()
    }

    #[test]
    fn an_alert_waits_fires_stays_and_ends() {
        let minutes = |samples: &str| samples.chars().map(|c| (60_000, c == 'x')).collect::<Vec<_>>();
        let waits = |hold: i64, keep: i64| Waits { hold_ms: hold * 60_000, keep_firing_ms: keep * 60_000 };
        assert_eq!(states(&minutes("-xx--x"), waits(0, 0)), "-ffrrf");
        assert_eq!(states(&minutes("xxxx-xx"), waits(2, 0)), "ppffrpp");
        assert_eq!(states(&minutes("xx-xxx-"), waits(2, 0)), "pp-ppfr");
        assert_eq!(states(&minutes("xxx--x---x"), waits(1, 2)), "pfffffffrp");
        assert_eq!(states(&minutes(&format!("x{}", "-".repeat(18))), waits(0, 0)), format!("f{}--", "r".repeat(16)));
    }

    #[test]
    fn a_longer_wait_takes_it_back() {
        let times = Times::seen(None, 1000, Waits::default());
        assert_eq!((times.state, times.fired_at_ms), (State::Firing, Some(1000)));
        let longer = Waits { hold_ms: 5000, keep_firing_ms: 0 };
        let back = Times::seen(Some(times), 2000, longer);
        assert_eq!((back.state, back.active_at_ms, back.fired_at_ms), (State::Pending, 1000, None));
        assert_eq!(Times::seen(Some(back), 6000, longer).fired_at_ms, Some(6000));
    }

    proptest! {
        /// Told anew from the whole history each time, by the definitions alone.
        #[test]
        fn the_machine_is_its_definition(
            steps in prop::collection::vec((1_i64..400_000, any::<bool>()), 1..60),
            hold_ms in 0_i64..1_000_000,
            keep_firing_ms in 0_i64..1_000_000,
        ) {
            let waits = Waits { hold_ms, keep_firing_ms };
            let mut now_ms = 0;
            let history: Vec<(i64, bool)> =
                steps.iter().map(|(pause_ms, has_sample)| { now_ms += pause_ms; (now_ms, *has_sample) }).collect();
            for (at, times) in run(&steps, waits).iter().enumerate() {
                prop_assert_eq!(times.map(|times| times.state), defined(&history[..=at], waits), "{:?}", &history[..=at]);
                if let Some(times) = times {
                    prop_assert!(times.fired_at_ms.is_none_or(|fired| fired - times.active_at_ms >= hold_ms));
                    prop_assert_eq!(times.resolved_at_ms.is_some(), times.state == State::Resolved);
                }
            }
        }
    }

    /// Alerts are spans of evaluations. A span begins at a sample outside of one and ends at a missing sample: at once while it is younger than
    /// `hold_ms`, else when samples have been missing for `keep_firing_ms`.
    fn defined(history: &[(i64, bool)], waits: Waits) -> Option<State> {
        let mut span: Option<(i64, i64)> = None;
        let mut ended_ms = None;
        let mut missing_since_ms = None;
        for &(now_ms, has_sample) in history {
            match (span, has_sample) {
                (None, false) => {}
                (None, true) => {
                    (span, ended_ms, missing_since_ms) = (Some((now_ms, now_ms)), None, None);
                }
                (Some((start_ms, _)), true) => {
                    (span, missing_since_ms) = (Some((start_ms, now_ms)), None);
                }
                (Some((start_ms, seen_ms)), false) => {
                    let since_ms = *missing_since_ms.get_or_insert(now_ms);
                    let fired = seen_ms - start_ms >= waits.hold_ms;
                    if !fired {
                        span = None;
                    } else if now_ms - since_ms >= waits.keep_firing_ms {
                        (span, ended_ms) = (None, Some(now_ms));
                    }
                }
            }
        }
        let now_ms = history.last()?.0;
        match (span, ended_ms) {
            (Some((start_ms, _)), _) if now_ms - start_ms >= waits.hold_ms => Some(State::Firing),
            (Some(_), _) => Some(State::Pending),
            (None, Some(ended_ms)) if now_ms - ended_ms <= RESOLVED_MS => Some(State::Resolved),
            _ => None,
        }
    }
}
