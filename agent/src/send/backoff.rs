//! How long to wait after a failed push, and what an answer means: pure decisions.

/// Longest pause that a receiver may ask for.
const ASKED_MS_MAX: u64 = 10 * 60_000;

/// Pauses that double from a least to a most, with jitter, so that many agents do not come back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    min_ms: u64,
    max_ms: u64,
    failures: u32,
}

impl Backoff {
    /// Pauses from about `min_ms` to `max_ms` milliseconds.
    pub fn new(min_ms: u64, max_ms: u64) -> Self {
        Self { min_ms, max_ms, failures: 0 }
    }

    /// The pause after one more failure, in milliseconds: between half and all of the doubled pause, by `jitter` of
    /// 0 to 1, but not shorter than what the receiver asked for.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "milliseconds of at most an hour"
    )]
    pub fn next_ms(&mut self, jitter: f64, retry_after_s: Option<u64>) -> u64 {
        let doubled_ms = self.min_ms.saturating_mul(1 << self.failures.min(30)).min(self.max_ms);
        self.failures = self.failures.saturating_add(1);
        let pause_ms = (doubled_ms as f64 * (0.5 + jitter.clamp(0.0, 1.0) / 2.0)) as u64;
        let asked_ms = retry_after_s.unwrap_or(0).saturating_mul(1000).min(ASKED_MS_MAX);
        pause_ms.max(asked_ms)
    }

    /// The receiver is well again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// What to do after a receiver's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept there; forget it here.
    Delivered,
    /// Not now: the same again after a pause.
    Retry,
    /// Too large: less at once.
    Split,
    /// Never: these samples would be refused again.
    Drop,
}

/// Judges a status. 429 and 5xx pass by themselves. 401, 403, 404, 407, 408 and redirects are faults of how things are set
/// up, not of the samples: these wait in the queue until somebody sets it right. Any other 4xx is about the samples.
pub fn judge(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Delivered,
        413 => Verdict::Split,
        401 | 403 | 404 | 407 | 408 | 425 | 429 => Verdict::Retry,
        400..=499 => Verdict::Drop,
        _ => Verdict::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_most() {
        let mut backoff = Backoff::new(500, 4000);
        let full: Vec<u64> = (0..6).map(|_| backoff.next_ms(1.0, None)).collect();
        assert_eq!(full, [500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(backoff.next_ms(0.0, None), 2000, "jitter takes up to half");
        assert_eq!(backoff.next_ms(0.0, Some(9)), 9000, "the receiver's wish is kept");
        assert_eq!(backoff.next_ms(0.0, Some(u64::MAX)), ASKED_MS_MAX, "within reason");
        backoff.reset();
        assert_eq!(backoff.next_ms(1.0, None), 500);
        let mut long = Backoff::new(500, 4000);
        assert!((0..100).map(|_| long.next_ms(1.0, None)).all(|ms| ms <= 4000));
    }

    #[test]
    fn what_answers_mean() {
        for (status, want) in [
            (200, Verdict::Delivered),
            (204, Verdict::Delivered),
            (301, Verdict::Retry),
            (400, Verdict::Drop),
            (401, Verdict::Retry),
            (404, Verdict::Retry),
            (413, Verdict::Split),
            (422, Verdict::Drop),
            (429, Verdict::Retry),
            (500, Verdict::Retry),
            (503, Verdict::Retry),
        ] {
            assert_eq!(judge(status), want, "{status}");
        }
    }
}
