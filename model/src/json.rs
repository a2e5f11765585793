//! JSON pieces written straight into a byte buffer: numbers and strings, byte for byte as the field writes them.
//!
//! Documents are the business of those who put them together; [`crate::json_lines`] has the lines of exports.

use std::io::Write as _;

/// The largest whole number below which every f64 that is whole is also exact as an i64: 2^53.
const EXACT_WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Writes `text` in quotes, escaped.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(control >> 4), digit(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

/// Writes the shortest text that reads back as `value`; with an exponent of at least two digits below 1e-6 and
/// from 1e21 on, as Go's `strconv` does. Also the text format's way of writing a value.
pub fn write_number(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if magnitude < EXACT_WHOLE_MAX && is_whole(magnitude) {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, not negative, below 2^53")]
        write_whole(out, magnitude as u64);
    } else if (1e-6..1e21).contains(&magnitude) {
        put(out, format_args!("{value}"));
    } else {
        write_with_exponent(out, value);
    }
}

#[expect(clippy::float_cmp, reason = "whole means exactly whole")]
fn is_whole(value: f64) -> bool {
    value.trunc() == value
}

/// Rust writes `1e-7`; Go, and so the field, `1e-07`.
fn write_with_exponent(out: &mut Vec<u8>, value: f64) {
    let start = out.len();
    put(out, format_args!("{value:e}"));
    let at = out[start..].iter().position(|&byte| byte == b'e').map_or(out.len(), |found| start + found + 1);
    let (sign, digits_at) = if out.get(at) == Some(&b'-') { (b'-', at + 1) } else { (b'+', at) };
    let digits = out.split_off(digits_at);
    out.truncate(at);
    out.push(sign);
    if digits.len() < 2 {
        out.push(b'0');
    }
    out.extend_from_slice(&digits);
}

/// Writes a whole number.
pub fn write_whole(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = decimal_digit(rest % 10);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes a whole number with its sign.
pub fn write_signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    write_whole(out, number.unsigned_abs());
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a Vec takes every write");
}

fn decimal_digit(digit: u64) -> u8 {
    b"0123456789"[usize::try_from(digit % 10).unwrap_or(0)]
}
