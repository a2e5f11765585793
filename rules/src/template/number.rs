//! Floating-point numbers as Go prints them.

/// Forms of `printf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `%f`: no exponent.
    Fixed,
    /// `%e`: always an exponent.
    Exponent,
    /// `%g`: an exponent where it is large or small.
    General,
}

/// Without a precision, exponents from here on are told as such.
const SHORTEST_EXPONENT: i32 = 6;

/// `value` with `precision` digits: behind the point, of all for [`Style::General`]; without one as few as tell it from others.
pub fn format_float(value: f64, style: Style, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match style {
        Style::Fixed => match precision {
            Some(digits) => format!("{value:.digits$}"),
            None => format!("{value}"),
        },
        Style::Exponent => with_exponent(value, precision),
        Style::General => general(value, precision),
    }
}

fn with_exponent(value: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(digits) => format!("{value:.digits$e}"),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn general(value: f64, precision: Option<usize>) -> String {
    // As few digits as tell it, or as many as are asked for, without zeros at the end.
    let text = match precision {
        Some(digits) => format!("{value:.*e}", digits.max(1) - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let bound = precision.map_or(SHORTEST_EXPONENT, |digits| i32::try_from(digits.max(1)).unwrap_or(i32::MAX));
    if exponent < -4 || exponent >= bound {
        return with_exponent(value, Some(digits - 1));
    }
    let behind = i32::try_from(digits).unwrap_or(i32::MAX) - 1 - exponent;
    let shown = format!("{value:.*}", usize::try_from(behind).unwrap_or(0));
    match precision {
        // Rounded at a digit before the point, where the digits behind are zeros.
        Some(_) if behind < 0 => rounded(mantissa, exponent),
        _ => shown,
    }
}

/// `mantissa` without its point, with zeros up to the place of `exponent`.
fn rounded(mantissa: &str, exponent: i32) -> String {
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa),
    };
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let width = usize::try_from(exponent).unwrap_or(0) + 1;
    format!("{sign}{digits:0<width$}")
}
