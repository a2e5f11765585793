//! How many ticks of the processor make a second. Profiles of waiting count ticks; the runtime works the rate out when a
//! program asks for it. On one host all programs count the same ticks: two that started at different times tell the rate too.

use super::binary::Variable;
use super::image::Image;
use super::memory::{Fault, Reader};
use super::snapshot::field;
use crate::collect::float;

/// Least time between two starts of which the rate is taken: a pair of clocks is read some hundred nanoseconds apart.
const BETWEEN_NS_MIN: u64 = 1_000_000_000;
/// Rates that a processor can have, in ticks a second: arm64 begins at 1 MHz.
const RATES: std::ops::Range<f64> = 1e6..2e10;

/// What is known of the rate on this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct TickRate {
    told: Option<f64>,
    first: Option<(u64, u64)>,
    derived: Option<(u64, f64)>,
}

impl TickRate {
    /// Learns from the clocks in `image`, and gives the ticks a second of its program: what it says itself, else what others
    /// on this host tell.
    ///
    /// # Errors
    ///
    /// When memory cannot be read.
    pub fn learn(&mut self, image: &Image<'_>, reader: &mut Reader<'_>) -> Result<Option<f64>, Fault> {
        let mut own = None;
        if let Some(at) = image.address(Variable::Ticks) {
            let layout = image.layout.ticks;
            own = Some(float(field(reader, at, layout.ticks_per_second)?)).filter(|rate| RATES.contains(rate));
            self.told = own.or(self.told);
            if let (Some(ticks), Some(time)) = (layout.start_ticks, layout.start_time) {
                self.start(field(reader, at, ticks)?, field(reader, at, time)?);
            }
        }
        Ok(own.or(self.per_second()))
    }

    /// Learns from a program that read `ticks` at `time_ns` of the monotonic clock.
    fn start(&mut self, ticks: u64, time_ns: u64) {
        if ticks == 0 || time_ns == 0 {
            return;
        }
        let Some((first_ticks, first_ns)) = self.first else {
            self.first = Some((ticks, time_ns));
            return;
        };
        let between_ns = time_ns.abs_diff(first_ns);
        // The longer the time between two starts the better the rate.
        if between_ns < BETWEEN_NS_MIN || self.derived.is_some_and(|(known_ns, _)| known_ns >= between_ns) {
            return;
        }
        let rate = float(ticks.abs_diff(first_ticks)) / float(between_ns) * 1e9;
        if RATES.contains(&rate) && (ticks > first_ticks) == (time_ns > first_ns) {
            self.derived = Some((between_ns, rate));
        }
    }

    /// Ticks a second, once they are known.
    fn per_second(&self) -> Option<f64> {
        self.told.or(self.derived.map(|(_, rate)| rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_starts_tell_the_rate() {
        let mut rate = TickRate::default();
        let second = 1_000_000_000;
        rate.start(5_000 + 3 * 10 * second, 10 * second);
        assert_eq!(rate.per_second(), None);
        rate.start(5_000 + 3 * 10 * second + 1, 10 * second + 1);
        assert_eq!(rate.per_second(), None, "too near");
        rate.start(5_000 + 3 * 25 * second, 25 * second);
        assert!((rate.per_second().expect("known") - 3e9).abs() < 1.0);
        rate.start(5_000 + 9 * 24 * second, 24 * second);
        assert!((rate.per_second().expect("known") - 3e9).abs() < 1.0, "a shorter time says less");
        rate.start(0, 40 * second);
        rate.start(1, 50 * second);
        assert!((rate.per_second().expect("known") - 3e9).abs() < 1.0, "what goes back is no clock");
    }
}
