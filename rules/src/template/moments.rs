//! Methods of moments and durations.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};
use std::sync::Arc;

use super::layout::{format_duration, format_time};
use super::value::Value;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// Method `name` of a moment.
pub(super) fn of_time(time: &Zoned, name: &str, args: &[Value]) -> Result<Value, String> {
    let int = |value: i64| Ok(Value::Int(value));
    match (name, args) {
        ("Format", [Value::Text(layout)]) => Ok(Value::from(format_time(time, layout))),
        ("Add", [Value::Duration(ns) | Value::Int(ns)]) => {
            let moved = time.checked_add(SignedDuration::from_nanos(*ns));
            moved.map(|time| Value::Time(Arc::new(time))).map_err(|error| error.to_string())
        }
        ("Sub", [Value::Time(other)]) => Ok(Value::Duration(between(other, time))),
        ("Before", [Value::Time(other)]) => Ok(Value::Bool(*time < **other)),
        ("After", [Value::Time(other)]) => Ok(Value::Bool(*time > **other)),
        ("Equal", [Value::Time(other)]) => Ok(Value::Bool(*time == **other)),
        ("UTC", []) => Ok(Value::Time(Arc::new(time.with_time_zone(TimeZone::UTC)))),
        ("Local", []) => Ok(Value::Time(Arc::new(time.with_time_zone(TimeZone::system())))),
        ("Unix", []) => int(time.timestamp().as_second()),
        ("UnixMilli", []) => int(time.timestamp().as_millisecond()),
        ("IsZero", []) => Ok(Value::Bool(time.year() == 1 && time.day_of_year() == 1)),
        ("Year", []) => int(i64::from(time.year())),
        ("Month", []) => Ok(Value::from(time.strftime("%B").to_string())),
        ("Weekday", []) => Ok(Value::from(time.strftime("%A").to_string())),
        ("Day", []) => int(i64::from(time.day())),
        ("YearDay", []) => int(i64::from(time.day_of_year())),
        ("Hour", []) => int(i64::from(time.hour())),
        ("Minute", []) => int(i64::from(time.minute())),
        ("Second", []) => int(i64::from(time.second())),
        ("String", []) => Ok(Value::from(super::layout::print_time(time))),
        _ => Err(format!("time.Time has no method {name} with such arguments")),
    }
}

/// Nanoseconds from one moment to another, as far as they can be told.
pub(super) fn between(from: &Zoned, to: &Zoned) -> i64 {
    let ns = to.timestamp().as_nanosecond() - from.timestamp().as_nanosecond();
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// Method `name` of a duration of `ns` nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "durations are told as floating-point numbers")]
pub(super) fn of_duration(ns: i64, name: &str, args: &[Value]) -> Result<Value, String> {
    let seconds = ns as f64 / NS_PER_SECOND as f64;
    match (name, args) {
        ("Seconds", []) => Ok(Value::Float(seconds)),
        ("Minutes", []) => Ok(Value::Float(seconds / 60.0)),
        ("Hours", []) => Ok(Value::Float(seconds / 3600.0)),
        ("Milliseconds", []) => Ok(Value::Int(ns / 1_000_000)),
        ("Microseconds", []) => Ok(Value::Int(ns / 1_000)),
        ("Nanoseconds", []) => Ok(Value::Int(ns)),
        ("Abs", []) => Ok(Value::Duration(ns.saturating_abs())),
        ("Truncate", [Value::Duration(to) | Value::Int(to)]) if *to > 0 => Ok(Value::Duration(ns - ns % to)),
        ("Round", [Value::Duration(to) | Value::Int(to)]) if *to > 0 => {
            let rest = ns % to;
            let away = if rest.unsigned_abs() * 2 < to.unsigned_abs() { 0 } else { to * rest.signum() };
            Ok(Value::Duration((ns - rest).saturating_add(away)))
        }
        ("String", []) => Ok(Value::from(format_duration(ns))),
        _ => Err(format!("time.Duration has no method {name} with such arguments")),
    }
}
