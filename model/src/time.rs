//! Time: instants in milliseconds, closed ranges, durations as PromQL and configuration write them, clocks.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, UTC. Any i64 is a valid instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// The earliest instant.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant.
    pub const MAX: Self = Self(i64::MAX);
}

/// A range of time that includes both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant in the range.
    pub start: TimestampMs,
    /// Last instant in the range.
    pub end: TimestampMs,
}

impl TimeRange {
    /// Every instant.
    pub const ALL: Self = Self { start: TimestampMs::MIN, end: TimestampMs::MAX };

    /// The range from `start_ms` to `end_ms`, both included.
    pub fn new(start_ms: i64, end_ms: i64) -> Self {
        Self { start: TimestampMs(start_ms), end: TimestampMs(end_ms) }
    }

    /// Whether `timestamp_ms` lies in the range.
    pub fn contains(self, timestamp_ms: i64) -> bool {
        self.start.0 <= timestamp_ms && timestamp_ms <= self.end.0
    }

    /// Whether the two ranges share an instant.
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Whether the range holds no instant: its end lies before its start.
    pub fn is_empty(self) -> bool {
        self.end < self.start
    }
}

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum DurationError {
    /// Not of the form `1h30m`.
    #[error("{text:?} is not a duration; write it like 90s, 1h30m or 15d (units y w d h m s ms, longest first)")]
    Malformed { text: String },
    /// More than an i64 of nanoseconds, as in Prometheus.
    #[error("duration {text:?} is longer than 292 years")]
    TooLong { text: String },
}

/// The units of a duration, longest first, in milliseconds. A year has 365 days.
const DURATION_UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longest duration, so that it also fits nanoseconds in an i64.
pub const DURATION_MS_MAX: i64 = i64::MAX / 1_000_000;

/// Parses `1h30m` into milliseconds: units `y w d h m s ms`, longest first, each at most once, no fraction.
///
/// # Errors
///
/// When `text` is not of that form or longer than 292 years.
pub fn parse_duration_ms(text: &str) -> Result<i64, DurationError> {
    let malformed = || DurationError::Malformed { text: text.to_owned() };
    let too_long = || DurationError::TooLong { text: text.to_owned() };
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut units = DURATION_UNITS.iter();
    let mut total_ms = 0i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[digits..digits + letters];
        let Some(&(_, unit_ms)) = units.find(|(name, _)| *name == unit) else { return Err(malformed()) };
        if digits == 0 {
            return Err(malformed());
        }
        let count: i64 = rest[..digits].parse().map_err(|_| too_long())?;
        total_ms = count
            .checked_mul(unit_ms)
            .and_then(|ms| ms.checked_add(total_ms))
            .filter(|&ms| ms <= DURATION_MS_MAX)
            .ok_or_else(too_long)?;
        rest = &rest[digits + letters..];
    }
    if text.is_empty() { Err(malformed()) } else { Ok(total_ms) }
}

/// Shows milliseconds as a duration that [`parse_duration_ms`] reads back: `1h30m`, `250ms`, `0s`.
#[derive(Debug, Clone, Copy)]
pub struct ShowDuration(pub i64);

impl fmt::Display for ShowDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut rest = self.0.unsigned_abs();
        for (name, unit_ms) in DURATION_UNITS {
            let unit_ms = unit_ms.unsigned_abs();
            // Years and weeks only when they are the whole of it, as in Prometheus: 8d, not 1w1d.
            if matches!(name, "y" | "w") && !rest.is_multiple_of(unit_ms) {
                continue;
            }
            if rest >= unit_ms {
                write!(f, "{}{name}", rest / unit_ms)?;
                rest %= unit_ms;
            }
        }
        Ok(())
    }
}

/// Where the current time comes from. Everything that decides by time asks a clock it was given.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The current time.
    fn now(&self) -> TimestampMs;

    /// Milliseconds since whenever, that pass whether the time is set or not.
    fn steady_ms(&self) -> i64 {
        self.now().0
    }
}

/// A clock that was set forward by less counts as one that was not.
pub const STEP_FORWARD_MS_MIN: i64 = 5000;

/// Notices that a clock was set forward, or that the machine slept.
#[derive(Debug)]
pub struct ForwardWatch {
    now_ms: i64,
    steady_ms: i64,
}

impl ForwardWatch {
    /// One that knows what `clock` shows now.
    pub fn new(clock: &dyn Clock) -> Self {
        Self { now_ms: clock.now().0, steady_ms: clock.steady_ms() }
    }

    /// What `clock` shows now, and by how many milliseconds it was set forward since the last look; 0 where that are less than
    /// [`STEP_FORWARD_MS_MIN`].
    pub fn look(&mut self, clock: &dyn Clock) -> (i64, i64) {
        let before = std::mem::replace(self, Self::new(clock));
        let passed_ms = self.steady_ms.saturating_sub(before.steady_ms);
        let by_ms = self.now_ms.saturating_sub(before.now_ms).saturating_sub(passed_ms);
        (self.now_ms, if by_ms < STEP_FORWARD_MS_MIN { 0 } else { by_ms })
    }
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> TimestampMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn steady_ms(&self) -> i64 {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        i64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that tests set and advance.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
    /// By how much it was stepped.
    stepped_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: TimestampMs) -> Self {
        Self { now_ms: AtomicI64::new(now.0), stepped_ms: AtomicI64::new(0) }
    }

    /// Sets the time.
    pub fn set(&self, now: TimestampMs) {
        self.now_ms.store(now.0, Ordering::SeqCst);
    }

    /// Moves the time on.
    pub fn advance_ms(&self, by_ms: i64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Shows another time, while none passes.
    pub fn step_ms(&self, by_ms: i64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
        self.stepped_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.now_ms.load(Ordering::SeqCst))
    }

    fn steady_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst).saturating_sub(self.stepped_ms.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want_ms: i64, shown: &str) {
        assert_eq!(parse_duration_ms(text), Ok(want_ms), "{text}");
        assert_eq!(ShowDuration(want_ms).to_string(), shown);
        assert_eq!(parse_duration_ms(shown), Ok(want_ms), "{shown}");
    }

    #[test]
    fn steps_forward_are_noticed() {
        let clock = ManualClock::new(TimestampMs(1000));
        let mut watch = ForwardWatch::new(&clock);
        for (passes_ms, step_ms, want_ms) in [
            (3_600_000, 0, 0),
            (1000, 4999, 0),
            (1000, 5000, 5000),
            (0, -9000, 0),
            (9000, 0, 0),
            (-9000, 60_000, 60_000),
        ] {
            clock.advance_ms(passes_ms);
            clock.step_ms(step_ms);
            assert_eq!(watch.look(&clock), (clock.now().0, want_ms), "{passes_ms}, {step_ms}");
        }
        // That of the machine passes, and nobody sets it here.
        let mut watch = ForwardWatch::new(&SystemClock);
        let before_ms = SystemClock.steady_ms();
        while SystemClock.steady_ms() == before_ms {
            std::thread::yield_now();
        }
        assert_eq!(watch.look(&SystemClock).1, 0);
    }

    #[test]
    fn durations() {
        check("1h30m", 5_400_000, "1h30m");
        check("90s", 90_000, "1m30s");
        check("250ms", 250, "250ms");
        check("1y2w3d4h5m6s7ms", 33_019_506_007, "382d4h5m6s7ms");
        check("0s", 0, "0s");
        check("0", 0, "0s");
        check("1w", 604_800_000, "1w");
        check("292y", 292 * 365 * 86_400_000, "292y");
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "5", "1.5h", "30m1h", "1m1m", "h", "-1s", "1 s", "1M", "5ms3s"] {
            assert!(matches!(parse_duration_ms(text), Err(DurationError::Malformed { .. })), "{text:?}");
        }
        for text in ["300y", "99999999999999999999s", "9223372036854775807w"] {
            assert!(matches!(parse_duration_ms(text), Err(DurationError::TooLong { .. })), "{text:?}");
        }
    }

    #[test]
    fn ranges_include_both_ends() {
        let range = TimeRange::new(10, 20);
        assert!(range.contains(10) && range.contains(20) && !range.contains(21) && !range.contains(9));
        assert!(range.overlaps(TimeRange::new(20, 30)) && !range.overlaps(TimeRange::new(21, 30)));
        assert!(TimeRange::new(2, 1).is_empty());
    }
}
