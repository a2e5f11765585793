//! Numbers and durations: `1_000`, `0x1f`, `017`, `1e-3`, `1h30m`.
//!
//! Owns what is one and what was probably meant. `Inf` and `NaN` are words to the lexer.

use model::time::{DurationError, ShowDuration, parse_duration_ms};

use super::{Kind, Lexed, Problem};

/// A number or duration: everything that starts with a digit, or a point and a digit.
pub(super) fn number(text: &str) -> Lexed<'_, Kind<'_>> {
    let starts = text.strip_prefix('.').unwrap_or(text).starts_with(|c: char| c.is_ascii_digit());
    if !starts {
        return Err(nom::Err::Error(nom::error::ParseError::from_error_kind(text, nom::error::ErrorKind::Digit)));
    }
    let (run, rest) = text.split_at(run_length(text));
    match value_of(run) {
        Ok(value) => return Ok((rest, Kind::Number(value))),
        Err(NumberFault::TooLarge) => {
            return Err(Problem::failure(text, run.len(), format!("number out of range: {:?}", shorten(run))));
        }
        Err(NumberFault::Malformed) => {}
    }
    match parse_duration_ms(run) {
        // Exact: the longest duration has fewer than 2^53 milliseconds.
        #[expect(clippy::cast_precision_loss, reason = "at most 2^63 / 10^6, which an f64 holds exactly")]
        Ok(duration_ms) => Ok((rest, Kind::Duration(duration_ms as f64 / 1e3))),
        Err(DurationError::TooLong { .. }) => {
            let message = format!("duration out of range: {:?} is longer than 292 years", shorten(run));
            Err(Problem::failure(text, run.len(), message))
        }
        Err(_) => {
            let message = format!("bad number or duration syntax: {:?}", shorten(run));
            let hint = Some(suggestion(run));
            Err(nom::Err::Failure(Problem { rest: text, length: run.len(), message, hint }))
        }
    }
}

/// How far a number or duration could reach: letters, digits, `_`, `.`, and a sign after a decimal exponent's `e`.
fn run_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_hex = text.len() > 1 && bytes[0] == b'0' && bytes[1].eq_ignore_ascii_case(&b'x');
    let mut length = 0;
    while let Some(&byte) = bytes.get(length) {
        let sign_of_exponent = matches!(byte, b'+' | b'-')
            && !is_hex
            && bytes[length - 1].eq_ignore_ascii_case(&b'e')
            && bytes[..length - 1].iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'_'))
            && bytes.get(length + 1).is_some_and(u8::is_ascii_digit);
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || sign_of_exponent {
            length += 1;
        } else {
            break;
        }
    }
    length
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberFault {
    /// Not of the form of a number.
    Malformed,
    /// Beyond an f64, or a hexadecimal number beyond an i64.
    TooLarge,
}

/// The value of a number: decimal, hexadecimal after `0x`, octal after `0` when all its digits are.
fn value_of(run: &str) -> Result<f64, NumberFault> {
    let bytes = run.as_bytes();
    let hexadecimal = run.strip_prefix("0x").or_else(|| run.strip_prefix("0X"));
    let is_digit = |byte: &u8| if hexadecimal.is_some() { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() };
    let separates = |at: usize| {
        let after_prefix = at == 2 && hexadecimal.is_some();
        at > 0 && (is_digit(&bytes[at - 1]) || after_prefix) && bytes.get(at + 1).is_some_and(is_digit)
    };
    if !(0..bytes.len()).filter(|&at| bytes[at] == b'_').all(separates) {
        return Err(NumberFault::Malformed);
    }
    let digits = hexadecimal.unwrap_or(run).replace('_', "");
    if let Some(value) = hexadecimal.map(|_| integer(&digits, 16)).or_else(|| octal(&digits)) {
        return value;
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return Err(NumberFault::Malformed);
    }
    let value: f64 = digits.parse().map_err(|_| NumberFault::Malformed)?;
    if value.is_finite() { Ok(value) } else { Err(NumberFault::TooLarge) }
}

/// `017` is 15; `08` and what exceeds an i64 is left to be decimal.
fn octal(digits: &str) -> Option<Result<f64, NumberFault>> {
    let is_octal =
        digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    is_octal.then(|| integer(digits, 8)).filter(Result::is_ok)
}

#[expect(clippy::cast_precision_loss, reason = "a number is an f64; a large integer is the nearest one")]
fn integer(digits: &str, radix: u32) -> Result<f64, NumberFault> {
    use std::num::IntErrorKind::PosOverflow;
    i64::from_str_radix(digits, radix).map(|value| value as f64).map_err(|error| match error.kind() {
        PosOverflow => NumberFault::TooLarge,
        _ => NumberFault::Malformed,
    })
}

/// What someone who wrote `run` should have written.
fn suggestion(run: &str) -> String {
    match total_ms(run) {
        Some(total_ms) => format!("write {}", ShowDuration(total_ms)),
        None => "a duration is written like 90s, 1h30m or 15d: units y w d h m s ms, longest first".to_owned(),
    }
}

/// The sum of parts such as `1.5h` or `30m1h`, in whole milliseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "checked to be whole and small")]
fn total_ms(run: &str) -> Option<i64> {
    let mut rest = run;
    let mut total_ms = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let after = &rest[digits..];
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit_ms = parse_duration_ms(&format!("1{}", &after[..letters])).ok()?;
        total_ms += rest[..digits].parse::<f64>().ok()? * unit_ms as f64;
        rest = &after[letters..];
    }
    let is_exact = total_ms.fract() == 0.0 && (1.0..1e12).contains(&total_ms);
    is_exact.then_some(total_ms as i64)
}

/// The start of a text that may be long.
fn shorten(text: &str) -> &str {
    &text[..text.len().min(40)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: f64) {
        assert_eq!(value_of(text), Ok(want), "{text}");
        assert_eq!(run_length(text), text.len(), "{text}");
    }

    #[test]
    fn numbers() {
        check("1", 1.0);
        check(".5", 0.5);
        check("5.", 5.0);
        check("1e3", 1000.0);
        check("1E-3", 0.001);
        check("1.5e+3", 1500.0);
        check("0x1F", 31.0);
        check("0X_ff", 255.0);
        check("0xe", 14.0);
        check("017", 15.0);
        check("0_17", 15.0);
        check("08", 8.0);
        check("0", 0.0);
        check("00", 0.0);
        check("0.5", 0.5);
        check("1_000", 1000.0);
        check("1_000.000_5", 1000.0005);
        check("0777777777777777777777777", 777_777_777_777_777_777_777_777.0);
    }

    #[test]
    fn no_numbers() {
        for text in
            ["1_", "_1", "1__0", "1_.5", "1._5", "1_e3", "1e_3", "0x", "0x1.8", "0xg", "1e", "1.2.3", "5m", "0b1"]
        {
            assert_eq!(value_of(text), Err(NumberFault::Malformed), "{text}");
        }
        for text in ["1e999", "0xffffffffffffffff"] {
            assert_eq!(value_of(text), Err(NumberFault::TooLarge), "{text}");
        }
    }

    #[test]
    fn runs_end_where_an_operator_starts() {
        assert_eq!(run_length("0xe+3"), 3);
        assert_eq!(run_length("1e+x"), 2);
        assert_eq!(run_length("5m-3"), 2);
        assert_eq!(run_length("1e5e+3"), 4);
    }

    #[test]
    fn suggestions() {
        for (text, want) in
            [("1.5h", "write 1h30m"), ("30m1h", "write 1h30m"), ("1m1m", "write 2m"), ("0.5s", "write 500ms")]
        {
            assert_eq!(suggestion(text), want, "{text}");
        }
        for text in ["5x", "1.5", "5h3", "0.1ms", "é"] {
            assert!(suggestion(text).starts_with("a duration"), "{text}");
        }
    }
}
