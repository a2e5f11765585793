//! Which version of remote write a receiver is spoken to in: pure decisions.
//!
//! Version 2.0 is tried first. A receiver that knows 1.0 alone answers 415, or takes a request of 2.0 for one without
//! series: then its answer lacks the counts of what was written, which 2.0 asks of every receiver. Such a receiver is
//! spoken to in 1.0, and asked again after a while, since receivers are upgraded.

use std::time::{Duration, Instant};

use ingest::Version;

use crate::http::Written;

/// Time after which a receiver that did not know something is tried again.
pub const ASK_AGAIN: Duration = Duration::from_mins(10);
/// What receivers of the field say that have native histograms switched off, with a status that says to come back.
const NATIVE_OFF: &str = "native histograms are disabled";

/// What the configuration asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Version 2.0 where the receiver knows it, else 1.0.
    #[default]
    Auto,
    /// Version 1.0 alone.
    V1,
    /// Version 2.0 alone.
    V2,
}

/// How histograms go to receivers of version 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Histograms {
    /// Exponential ones as they are, unless the receiver has them switched off; those with custom buckets as classic ones.
    #[default]
    Native,
    /// All as classic ones.
    Classic,
}

/// What an answer means for the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// Nothing: judge the answer.
    Nothing,
    /// The samples were not understood: the same at once in the form that is chosen now.
    AskOtherwise,
    /// No form that may be spoken is understood: somebody has to set it right.
    NotSpoken,
}

/// What is known of one receiver.
#[derive(Debug)]
pub struct Negotiation {
    protocol: Protocol,
    histograms: Histograms,
    /// Since when it is spoken to in 1.0, though 2.0 may be spoken.
    v1_since: Option<Instant>,
    /// Whether it has understood 2.0.
    knows_v2: bool,
    /// Since when it has native histograms switched off.
    native_off_since: Option<Instant>,
}

impl Negotiation {
    /// Nothing is known.
    pub fn new(protocol: Protocol, histograms: Histograms) -> Self {
        Self { protocol, histograms, v1_since: None, knows_v2: false, native_off_since: None }
    }

    /// The version of the next request.
    pub fn version(&mut self, now: Instant) -> Version {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= ASK_AGAIN;
        self.v1_since = self.v1_since.filter(|since| !is_over(*since));
        self.native_off_since = self.native_off_since.filter(|since| !is_over(*since));
        match self.protocol {
            Protocol::V1 => Version::V1,
            Protocol::Auto if self.v1_since.is_some() => Version::V1,
            Protocol::Auto | Protocol::V2 => Version::V2,
        }
    }

    /// Whether exponential histograms go as they are in the next request of 1.0.
    pub fn sends_native(&self) -> bool {
        self.histograms == Histograms::Native && self.native_off_since.is_none()
    }

    /// Takes note of the answer to a request in `version`.
    pub fn learn(
        &mut self,
        version: Version,
        status: u16,
        written: Option<Written>,
        message: &str,
        now: Instant,
    ) -> Learned {
        match version {
            Version::V1 => self.learn_v1(status, message, now),
            Version::V2 if written.is_some() => {
                self.knows_v2 = true;
                Learned::Nothing
            }
            Version::V2 => {
                // A 400 of who has understood before is about the samples.
                let not_understood = matches!(status, 200..=299 | 406 | 415 | 501) || (status == 400 && !self.knows_v2);
                if !not_understood {
                    return Learned::Nothing;
                }
                self.knows_v2 = false;
                if self.protocol == Protocol::V2 {
                    // Of other answers than these the sender can tell by itself.
                    return if status == 400 { Learned::Nothing } else { Learned::NotSpoken };
                }
                self.v1_since = Some(now);
                Learned::AskOtherwise
            }
        }
    }

    fn learn_v1(&mut self, status: u16, message: &str, now: Instant) -> Learned {
        if status == 415 {
            // 2.0 next, after a pause: it was refused too, or may not be spoken.
            self.v1_since = None;
            return Learned::NotSpoken;
        }
        if status >= 400 && self.sends_native() && message.contains(NATIVE_OFF) {
            self.native_off_since = Some(now);
            return Learned::AskOtherwise;
        }
        Learned::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: Option<Written> = Some(Written { samples: 1, histograms: 0, exemplars: 0 });

    fn auto() -> Negotiation {
        Negotiation::new(Protocol::Auto, Histograms::Native)
    }

    #[test]
    fn who_knows_2_0_is_spoken_to_in_it() {
        let (mut known, now) = (auto(), Instant::now());
        for status in [204, 400, 503, 429, 500] {
            assert_eq!(known.version(now), Version::V2);
            assert_eq!(known.learn(Version::V2, status, WRITTEN, "", now), Learned::Nothing, "{status}");
        }
        assert_eq!(known.learn(Version::V2, 400, None, "", now), Learned::Nothing, "it has understood before");
        assert_eq!(known.learn(Version::V2, 503, None, "", now), Learned::Nothing);
        assert_eq!(known.version(now), Version::V2);
    }

    #[test]
    fn who_does_not_is_spoken_to_in_1_0_for_a_while() {
        for status in [204, 200, 400, 406, 415, 501] {
            let (mut known, now) = (auto(), Instant::now());
            assert_eq!(known.learn(Version::V2, status, None, "", now), Learned::AskOtherwise, "{status}");
            assert_eq!(known.version(now), Version::V1);
            assert_eq!(known.learn(Version::V1, 204, None, "", now), Learned::Nothing);
            assert_eq!(known.version(now + ASK_AGAIN / 2), Version::V1);
            assert_eq!(known.version(now + ASK_AGAIN), Version::V2, "it may have been upgraded");
        }
        for status in [401, 403, 404, 413, 429, 500, 502, 503, 302] {
            let (mut known, now) = (auto(), Instant::now());
            assert_eq!(known.learn(Version::V2, status, None, "", now), Learned::Nothing, "{status}");
            assert_eq!(known.version(now), Version::V2, "{status} says nothing of the version");
        }
    }

    #[test]
    fn who_knows_neither_waits_for_somebody() {
        let (mut known, now) = (auto(), Instant::now());
        assert_eq!(known.learn(Version::V2, 415, None, "", now), Learned::AskOtherwise);
        assert_eq!(known.learn(Version::V1, 415, None, "", now), Learned::NotSpoken);
        assert_eq!(known.version(now), Version::V2, "both are tried in turn");
        let mut fixed = Negotiation::new(Protocol::V2, Histograms::Native);
        assert_eq!(fixed.learn(Version::V2, 204, None, "", now), Learned::NotSpoken);
        assert_eq!(fixed.learn(Version::V2, 400, None, "", now), Learned::Nothing);
        assert_eq!(fixed.version(now), Version::V2);
        let mut fixed = Negotiation::new(Protocol::V1, Histograms::Native);
        assert_eq!(fixed.version(now), Version::V1);
        assert_eq!(fixed.learn(Version::V1, 415, None, "", now), Learned::NotSpoken);
        assert_eq!(fixed.version(now), Version::V1);
    }

    #[test]
    fn who_has_native_histograms_switched_off_gets_classic_ones_for_a_while() {
        let (mut known, now) = (Negotiation::new(Protocol::V1, Histograms::Native), Instant::now());
        assert!(known.sends_native());
        let told = known.learn(Version::V1, 500, None, "native histograms are disabled\n", now);
        assert_eq!(told, Learned::AskOtherwise);
        assert!(!known.sends_native());
        let told = known.learn(Version::V1, 500, None, "native histograms are disabled\n", now);
        assert_eq!(told, Learned::Nothing, "once is enough");
        known.version(now + ASK_AGAIN);
        assert!(known.sends_native());
        assert!(!Negotiation::new(Protocol::V1, Histograms::Classic).sends_native());
    }
}
