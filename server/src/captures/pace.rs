//! How often captures may be taken of one program: each costs it something, and nobody looks at hundreds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// The time within which captures are counted.
const WINDOW_MS: i64 = 3_600_000;
/// Most programs that are counted apart; beyond, those that were quiet longest are forgotten.
const TARGETS_MAX: usize = 8192;

/// Too many captures of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// How many an hour may be.
    pub(crate) limit: usize,
    /// When the next may be.
    pub(crate) again_s: u64,
}

/// Captures by program, of the last hour.
#[derive(Debug)]
pub(crate) struct Pace {
    per_hour_max: usize,
    taken: Mutex<HashMap<String, VecDeque<i64>>>,
}

impl Pace {
    /// Lets `per_hour_max` captures of each program pass in an hour.
    pub(crate) fn new(per_hour_max: usize) -> Self {
        Self { per_hour_max, taken: Mutex::default() }
    }

    /// Counts a capture of `target`, if it may be.
    ///
    /// # Errors
    ///
    /// When there were too many in the last hour.
    pub(crate) fn take(&self, target: &str, now_ms: i64) -> Result<(), TooMany> {
        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= TARGETS_MAX && !all.contains_key(target) {
            let quietest = all.iter().min_by_key(|(_, times)| times.back().copied()).map(|(name, _)| name.clone());
            quietest.and_then(|name| all.remove(&name));
        }
        let times = all.entry(target.to_owned()).or_default();
        // A clock set back counts as time passed.
        times.retain(|time_ms| now_ms.abs_diff(*time_ms) < WINDOW_MS.unsigned_abs());
        if times.len() >= self.per_hour_max {
            let oldest_ms = times.front().copied().unwrap_or(now_ms);
            let again_ms = WINDOW_MS.saturating_sub(now_ms.saturating_sub(oldest_ms)).max(1_000);
            return Err(TooMany { limit: self.per_hour_max, again_s: again_ms.unsigned_abs().div_ceil(1_000) });
        }
        times.push_back(now_ms);
        Ok(())
    }

    /// Uncounts the last capture of `target`, which came to nothing.
    pub(crate) fn give_back(&self, target: &str) {
        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = all.get_mut(target) {
            times.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_an_hour() {
        let pace = Pace::new(2);
        assert_eq!([pace.take("a", 0), pace.take("a", 60_000), pace.take("b", 60_000)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(pace.take("a", 120_000), Err(TooMany { limit: 2, again_s: 3_480 }));
        assert_eq!(pace.take("a", WINDOW_MS), Ok(()), "the first is an hour ago");
        assert!(pace.take("a", WINDOW_MS + 1).is_err());
        pace.give_back("a");
        assert_eq!(pace.take("a", WINDOW_MS + 1), Ok(()), "it came to nothing");
        assert!(pace.take("a", WINDOW_MS + 1).is_err());
        assert_eq!(pace.take("a", -WINDOW_MS), Ok(()), "a clock set back");
    }

    #[test]
    fn programs_are_bounded() {
        let pace = Pace::new(1);
        for number in 0..i64::try_from(TARGETS_MAX).unwrap() + 10 {
            pace.take(&number.to_string(), number).unwrap();
        }
        assert_eq!(pace.taken.lock().unwrap().len(), TARGETS_MAX);
        assert_eq!(pace.take("0", 100_000), Ok(()), "forgotten");
    }
}
