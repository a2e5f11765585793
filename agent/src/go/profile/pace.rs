//! How often a profile is asked for, so that the program that answers pays less than half a percent of its time: the time
//! its last answer took sets the pause after it. The figures behind the constants are in `docs/agent.md`.

use std::time::{Duration, Instant};

/// The part of its time that a program pays at most for one kind of profile: one in so many.
const COST_PART: u32 = 200;
/// Longest pause: after an answer that took 18 seconds, and after many failures.
pub const PAUSE_MAX: Duration = Duration::from_hours(1);
/// A profile that had nothing in it is asked for this many times less often: the program does not keep it.
const EMPTY_FACTOR: u32 = 10;
/// Least time between two profiles of leaked goroutines, each of which costs a collection.
pub const LEAKS_PAUSE_MIN: Duration = Duration::from_mins(10);

/// How an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It said something.
    Full,
    /// It was empty.
    Empty,
    /// There was none, or it made no sense.
    Failed,
}

/// When one kind of profile of one program is asked for again.
#[derive(Debug, Clone)]
pub struct Pace {
    least: Duration,
    due: Option<Instant>,
    pause: Duration,
    failures: u32,
}

impl Pace {
    /// At most once in `least`, and at once.
    pub fn new(least: Duration) -> Self {
        Self { least, due: None, pause: least, failures: 0 }
    }

    /// Whether it is time to ask.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| now >= due)
    }

    /// The pause that goes on now.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// How many times in a row there was no answer.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes note of an answer that came at `now` after `took`. Intervals are multiplied by `stretch`, which is 1 within
    /// the agent's own budget.
    pub fn answered(&mut self, answer: Answer, took: Duration, now: Instant, stretch: u32) {
        self.failures = if answer == Answer::Failed { self.failures.saturating_add(1) } else { 0 };
        let factor = match answer {
            Answer::Full => 1,
            Answer::Empty => EMPTY_FACTOR,
            // A failure can be the next one's cause: a program under load.
            Answer::Failed => 1 << self.failures.min(6),
        };
        let pause = self.least.saturating_mul(factor).saturating_mul(stretch).max(took.saturating_mul(COST_PART));
        // A little early counts as due: ticks jitter.
        self.pause = pause.min(PAUSE_MAX.max(self.least));
        self.due = now.checked_add(self.pause.saturating_sub(self.pause / 20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until it is asked again.
    #[track_caller]
    fn check(pace: &mut Pace, answer: Answer, took_ms: u64, stretch: u32, want_s: u64) {
        let now = Instant::now();
        pace.answered(answer, Duration::from_millis(took_ms), now, stretch);
        let at = |seconds: f64| now + Duration::from_secs_f64(seconds);
        let want = Duration::from_secs(want_s).as_secs_f64();
        assert!(!pace.is_due(at(want * 0.9)) && pace.is_due(at(want)), "{answer:?} {took_ms} {stretch}: {want_s}");
    }

    #[test]
    fn the_pause_follows_what_an_answer_costs() {
        let mut pace = Pace::new(Duration::from_mins(1));
        assert!(pace.is_due(Instant::now()));
        check(&mut pace, Answer::Full, 2, 1, 60);
        check(&mut pace, Answer::Full, 2, 4, 240);
        // 100,000 goroutines.
        check(&mut pace, Answer::Full, 500, 1, 100);
        check(&mut pace, Answer::Full, 60_000, 1, 3600);
        check(&mut pace, Answer::Empty, 2, 1, 600);
        check(&mut pace, Answer::Failed, 2, 1, 120);
        check(&mut pace, Answer::Failed, 2, 1, 240);
        assert_eq!(pace.failures(), 2);
        for _ in 0..100 {
            pace.answered(Answer::Failed, Duration::ZERO, Instant::now(), 16);
        }
        check(&mut pace, Answer::Failed, 2, 1, 3600);
        check(&mut pace, Answer::Full, 2, 1, 60);
        assert_eq!(pace.failures(), 0);
        check(&mut Pace::new(Duration::from_hours(5)), Answer::Full, 2, 1, 5 * 3600);
    }
}
