//! Numbers for people: few digits, a unit that fits.
//!
//! Tables show the digits the server sent; this is for axes, legends and summaries.

use super::unit::{Base, Unit};

/// Seconds in a minute, an hour and a day.
const LONGER_S: [(f64, &str); 3] = [(60.0, "min"), (3_600.0, "h"), (86_400.0, "d")];
/// A span is told in a larger unit once it has this many of it.
const LONGER_FROM: f64 = 2.0;

/// Shows `value` with at most four digits or so: `1.5k`, `64MiB`, `250ms`, `2.5MiB/s`, `1.2e-9`.
pub(crate) fn short(value: f64, unit: Unit) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = match unit.base {
        Base::Seconds if !unit.per_second => return seconds(value),
        Base::Seconds => return scaled(value, 1000.0, &["", "k", "M", "G", "T", "P"]),
        Base::Count => scaled(value, 1000.0, &["", "k", "M", "G", "T", "P"]),
        Base::Bytes => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"]),
    };
    if unit.per_second && value != 0.0 { format!("{text}/s") } else { text }
}

/// Divides by `base` as often as there is a suffix for it.
fn scaled(value: f64, base: f64, suffixes: &[&str; 6]) -> String {
    if value != 0.0 && value.abs() < 1e-3 || value.abs() >= base.powi(5) * 1000.0 {
        return format!("{value:.1e}");
    }
    let mut rest = value;
    let mut suffix = suffixes[0];
    for next in &suffixes[1..] {
        // What would round up to the next suffix gets it: 999.96k is 1M.
        if rest.abs() < base - 0.05 {
            break;
        }
        rest /= base;
        suffix = next;
    }
    format!("{}{suffix}", digits(rest))
}

/// `250ms`, `1.5s`, `5min`, `36h`.
fn seconds(value: f64) -> String {
    let size = value.abs();
    if size >= 60.0 * LONGER_FROM {
        let fits = LONGER_S.iter().rev().find(|(length, _)| size >= length * LONGER_FROM);
        let (length, suffix) = fits.copied().unwrap_or(LONGER_S[0]);
        return if size / length >= 1e6 {
            format!("{value:.1e}s")
        } else {
            format!("{}{suffix}", digits(value / length))
        };
    }
    let (factor, suffix) = match size {
        // Half a digit below, for rounding: 0.99996 is a second.
        _ if size == 0.0 || size >= 0.999_95 => (1.0, "s"),
        _ if size >= 0.999_95e-3 => (1e3, "ms"),
        _ if size >= 0.999_95e-6 => (1e6, "µs"),
        _ if size >= 1e-12 => (1e9, "ns"),
        _ => return format!("{value:.1e}s"),
    };
    if size == 0.0 { "0".to_owned() } else { format!("{}{suffix}", digits(value * factor)) }
}

/// At most four digits or so, without zeros at the end.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        small if small < 0.1 => 4,
        small if small < 1.0 => 3,
        middle if middle < 10.0 => 2,
        _ => 1,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A count as a number to show; beyond 2^53 the last digits do not matter here.
#[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
pub(crate) fn count(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::super::unit::{BYTES, PLAIN, SECONDS};
    use super::*;

    #[track_caller]
    fn check(value: f64, unit: Unit, want: &str) {
        assert_eq!(short(value, unit), want, "for {value}");
    }

    #[test]
    fn numbers_are_short() {
        check(0.0, PLAIN, "0");
        check(-0.0, PLAIN, "0");
        check(1.0, PLAIN, "1");
        check(12.34, PLAIN, "12.3");
        check(0.25, PLAIN, "0.25");
        check(0.0123, PLAIN, "0.0123");
        check(1500.0, PLAIN, "1.5k");
        check(999_960.0, PLAIN, "1M");
        check(-2.5e9, PLAIN, "-2.5G");
        check(1e-9, PLAIN, "1.0e-9");
        check(1e30, PLAIN, "1.0e30");
        check(f64::NAN, PLAIN, "NaN");
        check(f64::NEG_INFINITY, SECONDS, "-Inf");
        check(512.0, BYTES, "512B");
        check(67_108_864.0, BYTES, "64MiB");
        check(1536.0, BYTES, "1.5KiB");
    }

    #[test]
    fn seconds_grow_into_minutes_and_shrink_to_nanoseconds() {
        check(0.0, SECONDS, "0");
        check(1.5, SECONDS, "1.5s");
        check(0.25, SECONDS, "250ms");
        check(0.999_99, SECONDS, "1s");
        check(-0.000_25, SECONDS, "-250µs");
        check(3e-9, SECONDS, "3ns");
        check(1e-15, SECONDS, "1.0e-15s");
        check(90.0, SECONDS, "90s");
        check(120.0, SECONDS, "2min");
        check(5_400.0, SECONDS, "90min");
        check(36_000.0, SECONDS, "10h");
        check(-864_000.0, SECONDS, "-10d");
        check(1e12, SECONDS, "1.0e12s");
    }

    #[test]
    fn rates_say_so() {
        check(1500.0, Unit { per_second: true, ..PLAIN }, "1.5k/s");
        check(1536.0, Unit { per_second: true, ..BYTES }, "1.5KiB/s");
        check(0.5, Unit { per_second: true, ..SECONDS }, "0.5");
        check(0.0, Unit { per_second: true, ..BYTES }, "0B");
    }
}
