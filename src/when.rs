//! Instants and steps as people write them on a command line, and instants as we show them.
//!
//! Durations themselves are `model::time`'s.

use jiff::Timestamp;
use model::time::parse_duration_ms;

/// Steps that read well on an axis and line up with minutes and hours, in milliseconds.
const STEPS_MS: [i64; 16] = [
    1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000,
    7_200_000, 21_600_000, 86_400_000,
];
/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;
/// Points an automatic step aims for at most.
const POINTS_AIM: i64 = 240;

/// Parses `now`, `now-1h30m`, `now+5m`, Unix seconds with or without fraction, or RFC 3339.
pub(crate) fn parse_instant_ms(text: &str, now_ms: i64) -> Result<i64, String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("now") {
        let offset_ms = match rest.trim_start().split_at_checked(1) {
            None => 0,
            Some(("-", duration)) => -parse_duration_ms(duration.trim()).map_err(|error| error.to_string())?,
            Some(("+", duration)) => parse_duration_ms(duration.trim()).map_err(|error| error.to_string())?,
            Some(_) => return Err(not_an_instant(text)),
        };
        return Ok(now_ms.saturating_add(offset_ms));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds_to_ms(seconds).ok_or_else(|| not_an_instant(text));
    }
    text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| not_an_instant(text))
}

/// Parses a step: a duration such as `30s`, or seconds.
pub(crate) fn parse_step_ms(text: &str) -> Result<i64, String> {
    let step_ms = match text.parse::<f64>() {
        Ok(seconds) => seconds_to_ms(seconds).ok_or_else(|| format!("step {text:?} is out of range"))?,
        Err(_) => parse_duration_ms(text).map_err(|error| error.to_string())?,
    };
    if step_ms > 0 { Ok(step_ms) } else { Err(format!("step {text:?} must be greater than zero")) }
}

/// The step for a range of `range_ms` when none was asked for: a round one that gives some 240 points at most.
pub(crate) fn step_for_ms(range_ms: i64) -> i64 {
    let wanted_ms = range_ms / POINTS_AIM;
    let round = STEPS_MS.into_iter().find(|&step_ms| step_ms >= wanted_ms);
    round.unwrap_or_else(|| (wanted_ms - 1) / DAY_MS * DAY_MS + DAY_MS)
}

/// Milliseconds as the API takes them: Unix seconds with at most three decimals.
pub(crate) fn api_seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let (seconds, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    if rest == 0 { format!("{sign}{seconds}") } else { format!("{sign}{seconds}.{rest:03}") }
}

/// Shows an instant in UTC by a `strftime` pattern; milliseconds as they are where the calendar ends.
pub(crate) fn show_instant(ms: i64, pattern: &str) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(timestamp) => timestamp.strftime(pattern).to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

/// Shows an instant in full, RFC 3339 in UTC with as many decimals as it has.
pub(crate) fn show_rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |timestamp| timestamp.to_string())
}

fn not_an_instant(text: &str) -> String {
    format!("{text:?} is no time; write now, now-1h, Unix seconds such as 1767225600, or 2026-01-01T00:00:00Z")
}

#[expect(clippy::cast_possible_truncation, reason = "checked to lie inside an i64 with room to spare")]
fn seconds_to_ms(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    (ms.abs() < 9e18).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_767_225_600_000;

    #[track_caller]
    fn check_instant(text: &str, want: Option<i64>) {
        assert_eq!(parse_instant_ms(text, NOW_MS).ok(), want, "for {text:?}");
    }

    #[test]
    fn instants() {
        check_instant("now", Some(NOW_MS));
        check_instant("now-1h", Some(NOW_MS - 3_600_000));
        check_instant("now - 1h30m", Some(NOW_MS - 5_400_000));
        check_instant("now+5s", Some(NOW_MS + 5_000));
        check_instant("1767225600", Some(NOW_MS));
        check_instant("1.5", Some(1_500));
        check_instant("-2", Some(-2_000));
        check_instant("2026-01-01T00:00:00Z", Some(NOW_MS));
        check_instant("2026-01-01T01:00:00+01:00", Some(NOW_MS));
        check_instant("now1h", None);
        check_instant("now-", None);
        check_instant("yesterday", None);
        check_instant("1e300", None);
        check_instant("NaN", None);
        check_instant("", None);
    }

    #[test]
    fn steps() {
        assert_eq!(parse_step_ms("30s"), Ok(30_000));
        assert_eq!(parse_step_ms("0.5"), Ok(500));
        assert!(parse_step_ms("0").is_err());
        assert!(parse_step_ms("-1").is_err());
        assert!(parse_step_ms("often").is_err());
        assert_eq!(step_for_ms(0), 1_000);
        assert_eq!(step_for_ms(3_600_000), 15_000);
        assert_eq!(step_for_ms(86_400_000), 600_000);
        assert_eq!(step_for_ms(365 * 86_400_000), 2 * 86_400_000);
    }

    #[test]
    fn instants_are_shown_as_the_api_and_people_read_them() {
        assert_eq!(api_seconds(1_500), "1.500");
        assert_eq!(api_seconds(-1_005), "-1.005");
        assert_eq!(api_seconds(10_000), "10");
        assert_eq!(show_instant(NOW_MS, "%Y-%m-%d %H:%M:%S"), "2026-01-01 00:00:00");
        assert_eq!(show_rfc3339(NOW_MS + 250), "2026-01-01T00:00:00.25Z");
        assert_eq!(show_instant(i64::MAX, "%H"), format!("{} ms", i64::MAX));
    }
}
