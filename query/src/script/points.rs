//! Series and points as scripts write them: `name{a="b"} 1 2+3x4 _ stale`.

use model::labels::METRIC_NAME;
use model::sample::stale_marker;
use model::{Labels, LabelsBuilder};

use super::histogram::Shown;
use crate::lex::unquote;

/// Most points one line, and all loads of a script together, may stand for.
pub(crate) const POINTS_MAX: usize = 1_000_000;

/// One point of a series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Point {
    /// No sample.
    Absent,
    /// A number; the stale marker too.
    Value(f64),
    /// A native histogram.
    Histogram(Shown),
}

/// Splits a line into its series and the rest.
pub(crate) fn parse_series(line: &str) -> Result<(Labels, &str), String> {
    let mut builder = LabelsBuilder::new();
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    if name_end > 0 {
        builder.push(METRIC_NAME, &line[..name_end]);
    }
    let mut rest = &line[name_end..];
    if let Some(braced) = rest.strip_prefix('{') {
        rest = braced.trim_start();
        while !rest.starts_with('}') {
            let (name, was_quoted, after) = parse_text(rest)?;
            rest = after.trim_start();
            if let Some(after) = rest.strip_prefix('=') {
                let (value, true, after) = parse_text(after.trim_start())? else {
                    return Err(format!("label value is not quoted at {after:?}"));
                };
                builder.push(&name, &value);
                rest = after.trim_start();
            } else if was_quoted {
                builder.push(METRIC_NAME, &name);
            } else {
                return Err(format!("expected = at {rest:?}"));
            }
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None if rest.starts_with('}') => {}
                None => return Err(format!("expected , or }} at {rest:?}")),
            }
        }
        rest = &rest[1..];
    }
    let labels = builder.build().map_err(|error| error.to_string())?;
    Ok((labels, rest.trim()))
}

/// A word or a quoted text, whether it was quoted, and what follows. Quotes are those of the query language.
fn parse_text(text: &str) -> Result<(String, bool, &str), String> {
    let Some(quote @ ('"' | '\'' | '`')) = text.chars().next() else {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
        if end == 0 {
            return Err(format!("expected a label at {text:?}"));
        }
        return Ok((text[..end].to_owned(), false, &text[end..]));
    };
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == quote {
            let (literal, rest) = text.split_at(at + 1);
            return Ok((unquote(literal, 0).map_err(|fault| fault.message)?, true, rest));
        } else {
            is_escaped = c == '\\' && quote != '`';
        }
    }
    Err("unclosed quotes".to_owned())
}

/// Reads the points of a line.
pub(crate) fn parse_points(text: &str) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = token_end(rest);
        parse_point(&rest[..end], &mut points)?;
        if points.len() > POINTS_MAX {
            return Err(format!("more than {POINTS_MAX} points in a line"));
        }
        rest = rest[end..].trim_start();
    }
    Ok(points)
}

/// Where the first token ends: at a space outside `{{…}}`.
fn token_end(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if c.is_whitespace() && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// `5`, `_`, `_x4`, `stale`, `axn`, `a+bxn`, `a-bxn`, or a native histogram in one of these forms.
fn parse_point(token: &str, points: &mut Vec<Point>) -> Result<(), String> {
    let bad = || format!("{token:?} is no point");
    let repetitions = |text: &str| text.parse::<usize>().ok().filter(|&n| n < POINTS_MAX).ok_or_else(bad);
    if let Some(text) = token.strip_prefix("{{") {
        points.extend(parse_histograms(text, &repetitions)?.into_iter().map(Point::Histogram));
        return Ok(());
    }
    let (base, times) = match token.split_once('x') {
        Some((base, n)) => (base, Some(repetitions(n)?)),
        None => (token, None),
    };
    match base {
        "_" => points.extend(std::iter::repeat_n(Point::Absent, times.unwrap_or(1))),
        "stale" => points.extend(std::iter::repeat_n(Point::Value(stale_marker()), times.unwrap_or(0) + 1)),
        _ => {
            let (first, step) = match step_sign(base) {
                Some(at) if times.is_some() => {
                    (parse_number(&base[..at]).ok_or_else(bad)?, parse_number(&base[at..]).ok_or_else(bad)?)
                }
                _ => (parse_number(base).ok_or_else(bad)?, 0.0),
            };
            let mut value = first;
            for _ in 0..=times.unwrap_or(0) {
                points.push(Point::Value(value));
                value += step;
            }
        }
    }
    Ok(())
}

/// One histogram or several, from behind the first `{{`: `…}}`, `…}}xn`, `…}}+{{…}}xn`, `…}}-{{…}}xn`.
fn parse_histograms(text: &str, repetitions: &dyn Fn(&str) -> Result<usize, String>) -> Result<Vec<Shown>, String> {
    let close = |text: &str| match text.split_once("}}") {
        Some((inner, after)) => Ok((Shown::parse(inner)?, after.to_owned())),
        None => Err("unclosed {{".to_owned()),
    };
    let (first, rest) = close(text)?;
    if let Some(n) = rest.strip_prefix('x') {
        return Ok(vec![first; repetitions(n)? + 1]);
    }
    if rest.is_empty() {
        return Ok(vec![first]);
    }
    let is_minus = rest.starts_with('-');
    let step = rest.strip_prefix(['+', '-']).and_then(|rest| rest.strip_prefix("{{"));
    let (step, rest) = close(step.ok_or_else(|| format!("{rest:?} cannot follow a histogram"))?)?;
    let n = rest.strip_prefix('x').ok_or_else(|| format!("expected xn, found {rest:?}"))?;
    first.series(&step, is_minus, repetitions(n)?)
}

/// Where `a+b` or `a-b` is joined: a sign that neither begins the text nor belongs to an exponent.
fn step_sign(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (1..bytes.len()).find(|&at| matches!(bytes[at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E'))
}

/// A number as scripts write it.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[f64]) {
        let got: Vec<f64> = parse_points(text)
            .expect("valid points")
            .into_iter()
            .map(|point| match point {
                Point::Value(value) => value,
                Point::Absent => -999.0,
                Point::Histogram(shown) => 1000.0 + shown.histogram.sum,
            })
            .collect();
        assert_eq!(format!("{got:?}"), format!("{want:?}"), "{text}");
    }

    #[test]
    fn points() {
        check("5 -1.5e3 NaN Inf -Inf", &[5.0, -1500.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        check("1+2x2 1-1x1 1e-1+1e0x1", &[1.0, 3.0, 5.0, 1.0, 0.0, 0.1, 1.1]);
        check("0x2 _ _x2 3", &[0.0, 0.0, 0.0, -999.0, -999.0, -999.0, 3.0]);
        check("-3+1x1", &[-3.0, -2.0]);
        check("{{schema:0 sum:1}}+{{sum:1}}x2 1", &[1001.0, 1002.0, 1003.0, 1.0]);
        check("{{sum:5}}-{{sum:2 buckets:[1 2]}}x1 {{}}x1 {{sum:7}}", &[1005.0, 1003.0, 1000.0, 1000.0, 1007.0]);
        let bad =
            ["a", "1+", "1x", "1x99999999", "1@2", "{{", "{{}}y", "{{}}+1x2", "{{}}+{{}}", "{{sum:1}}x", "{{}}{{}}"];
        for bad in bad {
            assert!(parse_points(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn series() {
        let (labels, rest) = parse_series("up{job=\"a\\\"b\", \"x.y\"=\"1\"} 1 2").expect("valid");
        assert_eq!(labels.to_string(), "up{job=\"a\\\"b\", \"x.y\"=\"1\"}");
        assert_eq!(rest, "1 2");
        assert_eq!(parse_series("{} 3").expect("valid"), (Labels::empty(), "3"));
        assert_eq!(parse_series("{\"a b\"} 3").expect("valid").0.metric_name(), "a b");
        let quoted = parse_series("up{job='it\\'s', path=`C:\\x`, tab=\"\\u0009\"}").expect("valid").0;
        assert_eq!(
            (quoted.get("job"), quoted.get("path"), quoted.get("tab")),
            (Some("it's"), Some("C:\\x"), Some("\t"))
        );
        assert!(parse_series("up{job=a} 1").is_err());
        for bad in ["up{job=\"a\" 1", "up{job=\"a'} 1", "up{job='\\q'} 1", "up{job=\"\\"] {
            assert!(parse_series(bad).is_err(), "{bad}");
        }
    }
}
