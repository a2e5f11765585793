//! Lines of start times: `name{a="b"}@st -1m _ -30s-1mx3` gives each point of the series on the next line the time its
//! counter began, as an offset from the point's own time; `@st …` those of every series below it without a line of its
//! own, over and over.

use model::time::parse_duration_ms;

use super::points::POINTS_MAX;

/// Start times of the points of a series, as offsets in milliseconds; `None` for unknown.
pub(crate) type Starts = Vec<Option<i64>>;

/// The series, which may be empty, and the rest of a line of start times.
pub(crate) fn split_line(line: &str) -> Option<(&str, &str)> {
    let (series, rest) = line.trim().split_once("@st")?;
    let is_series = series.is_empty() || series.ends_with('}') || !series.contains(['{', ' ', '\t']);
    (is_series && rest.starts_with(char::is_whitespace)).then_some((series, rest.trim()))
}

/// Reads the offsets of a line: `_`, `_xn`, `d`, `dxn`, `d+exn`, `d-exn`, and `*`, `*xn` for the last one again.
pub(crate) fn parse_starts(text: &str) -> Result<Starts, String> {
    let mut starts = Starts::new();
    for item in text.split_whitespace() {
        let (base, times) = match item.split_once('x') {
            Some((base, n)) => {
                let n = n.parse::<usize>().ok().filter(|&n| n < POINTS_MAX);
                (base, n.ok_or_else(|| format!("{item:?} does not say how often"))?)
            }
            None => (item, 0),
        };
        match base {
            "_" => starts.extend(std::iter::repeat_n(None, times.max(1))),
            "*" => {
                let last = starts.iter().rev().find_map(|start| *start).unwrap_or(0);
                starts.extend(std::iter::repeat_n(Some(last), times + 1));
            }
            _ => {
                let join = base.get(1..).and_then(|rest| rest.find(['+', '-'])).map_or(base.len(), |at| at + 1);
                let mut offset_ms = parse_signed(&base[..join])?;
                let step_ms = if join < base.len() { parse_signed(&base[join..])? } else { 0 };
                for _ in 0..=times {
                    starts.push(Some(offset_ms));
                    offset_ms = offset_ms.saturating_add(step_ms);
                }
            }
        }
        if starts.len() > POINTS_MAX {
            return Err(format!("more than {POINTS_MAX} start times in a line"));
        }
    }
    Ok(starts)
}

fn parse_signed(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    if digits == "0" {
        return Ok(0);
    }
    parse_duration_ms(digits).map(|ms| sign * ms).map_err(|_| format!("{text:?} is no duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(split_line("  a{x=\"1 2\"}@st _ 1m"), Some(("a{x=\"1 2\"}", "_ 1m")));
        assert_eq!(split_line("@st -1m"), Some(("", "-1m")));
        assert_eq!(split_line("a@st 0"), Some(("a", "0")));
        assert_eq!(split_line("a 1 2"), None);
        assert_eq!(split_line("a{x=\"@st \"} 1"), None);
    }

    #[test]
    fn offsets() {
        let some = |offsets: &[i64]| offsets.iter().copied().map(Some).collect::<Starts>();
        assert_eq!(parse_starts("-30s-1mx2"), Ok(some(&[-30_000, -90_000, -150_000])));
        assert_eq!(parse_starts("1ms-1mx1 -0msx1 0"), Ok(some(&[1, -59_999, 0, 0, 0])));
        assert_eq!(
            parse_starts("+1m -1m+1sx1 _ *x1"),
            Ok([some(&[60_000, -60_000, -59_000]), vec![None], some(&[-59_000; 2])].concat())
        );
        assert_eq!(parse_starts("_ _x2"), Ok(vec![None; 3]));
        for bad in ["1", "x", "-", "1mx", "1mxa", "1m+x2", "é", "_x99999999"] {
            assert!(parse_starts(bad).is_err(), "{bad}");
        }
    }
}
