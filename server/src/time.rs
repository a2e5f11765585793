//! Times and durations as API parameters write them.
//!
//! Any instant an i64 of milliseconds can hold is accepted, before 1970 too: decimals are read digit by digit,
//! because an f64 of seconds cannot tell milliseconds apart at the far ends.

use jiff::Timestamp;
use model::time::DURATION_MS_MAX;

/// What Prometheus's Go client sends for "from the beginning" and "to the end"; both lie outside four-digit years.
const CLIENT_MIN: &str = "-292273086-05-16T16:47:06Z";
const CLIENT_MAX: &str = "292277025-08-18T07:12:54.999999999Z";

/// What 2^63 milliseconds are, the first that an i64 cannot hold; its negative still fits.
const BEYOND_MS: f64 = 9_223_372_036_854_775_808.0;

/// Why a text is no number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoSeconds {
    /// It may be something else.
    NotANumber,
    /// It is a number that does not fit.
    Beyond,
}

/// Reads Unix seconds (`1435781451.781`, `1.4e9`) or RFC 3339 (`2015-07-01T20:10:51.781Z`) as milliseconds.
///
/// # Errors
///
/// A sentence that names the text.
pub(crate) fn parse_time_ms(text: &str) -> Result<i64, String> {
    match (parse_seconds_ms(text), text) {
        (Ok(ms), _) => Ok(ms),
        (Err(NoSeconds::Beyond), _) => {
            Err(format!("{text:?} lies beyond the times that 64 bits of milliseconds can hold"))
        }
        (_, CLIENT_MIN) => Ok(i64::MIN),
        (_, CLIENT_MAX) => Ok(i64::MAX),
        _ => text
            .parse::<Timestamp>()
            .map(Timestamp::as_millisecond)
            .map_err(|_| format!("cannot parse {text:?} to a valid timestamp")),
    }
}

/// Reads a duration as seconds (`15`, `0.5`) or as `1h30m` in milliseconds. May be negative or zero.
///
/// # Errors
///
/// A sentence that names the text.
pub(crate) fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let ms = match parse_seconds_ms(text) {
        Err(NoSeconds::NotANumber) => model::time::parse_duration_ms(text)
            .map_err(|error| format!("cannot parse {text:?} to a valid duration: {error}"))?,
        Err(NoSeconds::Beyond) => i64::MAX,
        Ok(ms) => ms,
    };
    if ms.unsigned_abs() > DURATION_MS_MAX.unsigned_abs() {
        return Err(format!("cannot parse {text:?} to a valid duration: it is longer than 292 years"));
    }
    Ok(ms)
}

/// Reads a decimal number of seconds as milliseconds, rounded half away from zero.
fn parse_seconds_ms(text: &str) -> Result<i64, NoSeconds> {
    let (negative, digits) = match text.as_bytes().first().ok_or(NoSeconds::NotANumber)? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return parse_float_ms(text);
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err(NoSeconds::NotANumber);
    }
    let decimal = |at: usize| fraction.as_bytes().get(at).map_or(0, |digit| i128::from(digit - b'0'));
    let seconds = match whole.trim_start_matches('0') {
        "" => 0,
        // So many digits never fit, and an i128 might not hold them either.
        digits if digits.len() > 20 => return Err(NoSeconds::Beyond),
        digits => digits.parse::<i128>().map_err(|_| NoSeconds::Beyond)?,
    };
    let rounding = i128::from(decimal(3) >= 5);
    let ms = seconds * 1000 + decimal(0) * 100 + decimal(1) * 10 + decimal(2) + rounding;
    i64::try_from(if negative { -ms } else { ms }).map_err(|_| NoSeconds::Beyond)
}

/// Reads a number with an exponent. Words such as `inf` and `nan` are none.
fn parse_float_ms(text: &str) -> Result<i64, NoSeconds> {
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(NoSeconds::NotANumber);
    }
    let ms = (text.parse::<f64>().map_err(|_| NoSeconds::NotANumber)? * 1000.0).round();
    if !(-BEYOND_MS..BEYOND_MS).contains(&ms) {
        return Err(NoSeconds::Beyond);
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to lie inside the range")]
    Ok(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_time(text: &str, want: i64) {
        assert_eq!(parse_time_ms(text), Ok(want), "for {text:?}");
    }

    #[test]
    fn times() {
        check_time("0", 0);
        check_time("1435781451.781", 1_435_781_451_781);
        check_time("1435781451.7815", 1_435_781_451_782);
        check_time("1435781451.78149999", 1_435_781_451_781);
        check_time("-1.5", -1_500);
        check_time("+2.", 2_000);
        check_time(".25", 250);
        check_time("1e3", 1_000_000);
        check_time("1.5E-1", 150);
        check_time("-1e0", -1_000);
        check_time("9223372036854775.807", i64::MAX);
        check_time("-9223372036854775.808", i64::MIN);
        check_time("000000000000000000000000000000000000000000001", 1_000);
        check_time("2015-07-01T20:10:51.781Z", 1_435_781_451_781);
        check_time("2015-07-01T22:10:51.781+02:00", 1_435_781_451_781);
        check_time("1969-12-31T23:59:59Z", -1_000);
        check_time(CLIENT_MIN, i64::MIN);
        check_time(CLIENT_MAX, i64::MAX);
    }

    #[track_caller]
    fn check_no_time(text: &str, reason: &str) {
        let error = parse_time_ms(text).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn no_times() {
        for text in
            ["", "-", "+", ".", "abc", "inf", "NaN", "-Infinity", "1_000", "0x10", "1 ", "2015-07-01", "5m", "1-"]
        {
            check_no_time(text, &format!("cannot parse {text:?} to a valid timestamp"));
        }
        for text in [
            "9223372036854775.808",
            "9223372036854775.8075",
            "-9223372036854775.809",
            "1e16",
            "99999999999999999999999",
        ] {
            check_no_time(text, "lies beyond");
        }
    }

    #[track_caller]
    fn check_duration(text: &str, want: i64) {
        assert_eq!(parse_duration_ms(text), Ok(want), "for {text:?}");
    }

    #[test]
    fn durations() {
        check_duration("15", 15_000);
        check_duration("0.5", 500);
        check_duration("-3", -3_000);
        check_duration("5m", 300_000);
        check_duration("1h30m", 5_400_000);
        check_duration("250ms", 250);
        check_duration("1e2", 100_000);
        for text in ["", "m", "5x", "1e400", "9300000000", "300y", "nan"] {
            let error = parse_duration_ms(text).unwrap_err();
            assert!(error.contains(&format!("cannot parse {text:?} to a valid duration")), "{error}");
        }
    }
}
