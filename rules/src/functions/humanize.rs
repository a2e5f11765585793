//! Numbers as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::template::{Style, Value, format_float, format_time};

const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

fn short(value: f64) -> String {
    format_float(value, Style::General, Some(4))
}

fn plain(value: f64) -> bool {
    value == 0.0 || !value.is_finite()
}

/// Divides by `base` while `prefixes` last.
fn scaled(mut value: f64, base: f64, prefixes: [&'static str; 8]) -> (f64, &'static str) {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < base {
            break;
        }
        value /= base;
        prefix = next;
    }
    (value, prefix)
}

/// Multiplies by 1000 up to 1, while prefixes last.
fn enlarged(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        value *= 1000.0;
        prefix = next;
    }
    (value, prefix)
}

/// With metric prefixes.
pub(super) fn humanize(value: f64) -> String {
    if plain(value) {
        return short(value);
    }
    let (value, prefix) = if value.abs() >= 1.0 { scaled(value, 1000.0, LARGE) } else { enlarged(value) };
    format!("{}{prefix}", short(value))
}

/// With prefixes of 1024.
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return short(value);
    }
    let (value, prefix) = scaled(value, 1024.0, BINARY);
    format!("{}{prefix}", short(value))
}

/// Seconds as days, hours, minutes and seconds.
pub(super) fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return short(seconds);
    }
    if seconds == 0.0 {
        return format!("{}s", short(seconds));
    }
    if seconds.abs() < 1.0 {
        let (value, prefix) = enlarged(seconds);
        return format!("{}{prefix}s", short(value));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let size = seconds.abs();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive whole part, held at the largest"
    )]
    let whole = size as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", short(size)),
        (0, 0, _) => format!("{sign}{minutes}m {}s", whole % 60),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {}s", whole % 60),
        _ => format!("{sign}{days}d {hours}h {minutes}m {}s", whole % 60),
    }
}

/// A ratio in percent.
pub(super) fn humanize_percentage(ratio: f64) -> String {
    format!("{}%", short(ratio * 100.0))
}

/// The moment of Unix `seconds`, to whole milliseconds as far as nanoseconds reach.
pub(super) fn timestamp(seconds: f64) -> Result<Timestamp, String> {
    let ns = seconds * 1e9;
    #[expect(clippy::cast_precision_loss, reason = "2^63 is exact")]
    let end = -(i64::MIN as f64);
    if !(-end..end).contains(&ns) {
        return Err(format!("{seconds} seconds cannot be told in nanoseconds of 64 bits"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is within them")]
    Timestamp::from_millisecond(ns as i64 / 1_000_000).map_err(|error| error.to_string())
}

/// A moment of Unix seconds.
pub(super) fn humanize_timestamp(seconds: f64) -> Result<String, String> {
    if !seconds.is_finite() {
        return Ok(short(seconds));
    }
    let time = timestamp(seconds)?.to_zoned(TimeZone::UTC);
    Ok(format_time(&time, "2006-01-02 15:04:05.999999999 -0700 MST"))
}

/// Nanoseconds of `seconds`, for a duration.
pub(super) fn duration(seconds: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "held at the longest")]
    Value::Duration((seconds * 1e9) as i64)
}
