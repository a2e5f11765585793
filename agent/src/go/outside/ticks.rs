//! How many ticks of the processor make a second. Profiles of waiting count ticks; the runtime works the rate out when a
//! program asks for it. On one host all programs count the same ticks, the agent too, so that it finds the rate by itself from
//! two looks at both clocks; where it cannot read the ticks, two programs that started at different times tell it.

use rustix::time::{ClockId, clock_gettime};

use super::binary::Variable;
use super::image::Image;
use super::memory::{Fault, Reader};
use super::snapshot::field;
use crate::collect::float;

/// Least time between two looks of which the rate is taken: a pair of clocks is read some hundred nanoseconds apart.
const BETWEEN_NS_MIN: u64 = 1_000_000_000;
/// Digits of a rate behind its first: two measurements differ in the seventh.
const RATE_DIGITS: f64 = 4.0;
/// How far a later rate may be from what is known. After a host slept its two clocks may be apart for good.
const APART: f64 = 1e-3;
/// Looks at both clocks of which the closest pair is taken.
const LOOKS: usize = 5;
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
    /// Begins with a look at the clocks now.
    pub fn new() -> Self {
        Self { first: clocks(), ..Self::default() }
    }

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
            // Of this processor the agent's own looks are as good, and nothing happened to its clocks in between.
            if let (None, Some(ticks), Some(time)) = (clocks(), layout.start_ticks, layout.start_time) {
                self.start(field(reader, at, ticks)?, field(reader, at, time)?);
            }
        }
        if let Some((ticks, time_ns)) = clocks() {
            self.start(ticks, time_ns);
        }
        Ok(own.or(self.per_second()))
    }

    /// Learns from someone who read `ticks` at `time_ns` of the monotonic clock.
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
        let fits = self.derived.is_none_or(|(_, known)| (rate / known - 1.0).abs() <= APART);
        if !fits {
            (self.first, self.derived) = (Some((ticks, time_ns)), self.derived.map(|(_, known)| (0, known)));
        } else if RATES.contains(&rate) && (ticks > first_ticks) == (time_ns > first_ns) {
            self.derived = Some((between_ns, rate));
        }
    }

    /// Ticks a second, once they are known: in so few digits that an agent that starts anew finds the same, since seconds
    /// that are counted must not become fewer.
    fn per_second(&self) -> Option<f64> {
        self.told.or(self.derived.map(|(_, rate)| {
            let unit = 10f64.powf(rate.log10().floor() - RATE_DIGITS);
            (rate / unit).round() * unit
        }))
    }
}

/// The ticks of the processor, and the monotonic clock in nanoseconds, as nearly at the same time as can be; nothing where
/// ticks cannot be read.
fn clocks() -> Option<(u64, u64)> {
    let looks = (0..LOOKS).map_while(|_| {
        let before_ns = monotonic_ns();
        let ticks = ticks_now()?;
        Some((monotonic_ns().saturating_sub(before_ns), ticks, before_ns))
    });
    looks.min().map(|(apart_ns, ticks, before_ns)| (ticks, before_ns + apart_ns / 2))
}

fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The counter that `runtime.cputicks` reads.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::unnecessary_wraps, reason = "other processors do not tell")]
fn ticks_now() -> Option<u64> {
    // SAFETY: the instruction reads a counter and touches no memory; every processor of x86-64 has it, and Linux lets every
    // process use it unless that process itself asked otherwise (`PR_SET_TSC`), which the agent does not.
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

/// The counter that `runtime.cputicks` reads takes an instruction of its own here, for which Rust has no name.
#[cfg(not(target_arch = "x86_64"))]
const fn ticks_now() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_came_apart_change_nothing() {
        let (mut rate, second) = (TickRate::default(), 1_000_000_000);
        rate.start(1, 1);
        rate.start(2 * 10 * second, 10 * second);
        // The host slept: ticks went on and the clock did not.
        rate.start(2 * 70 * second, 20 * second);
        assert!((rate.per_second().expect("known") / 2e9 - 1.0).abs() < 1e-6);
        rate.start(2 * 90 * second, 40 * second);
        assert!((rate.per_second().expect("known") / 2e9 - 1.0).abs() < 1e-6, "told anew from after the sleep");
    }

    #[test]
    fn measured_rates_have_few_digits() {
        for (measured, want) in [(2_596_149_837u64, 2.5961e9), (2_596_149_123, 2.5961e9), (24_000_011, 2.4e7)] {
            let mut rate = TickRate::default();
            rate.start(1, 1);
            rate.start(measured * 2 + 1, 2_000_000_001);
            let found = rate.per_second().expect("known");
            assert!((found / want - 1.0).abs() < 1e-12, "{found}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_clocks_of_this_processor_go_on() {
        let (first, second) = (clocks().expect("read"), clocks().expect("read"));
        assert!(first.0 < second.0 && first.1 < second.1, "{first:?} {second:?}");
    }

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
