//! Whether an answer is what a case expects.

use model::{FullSample, Labels, SampleValue, Samples};
use regex::Regex;

use super::histogram::Notation;
use super::parse::{Annotations, Case, CaseTime, Text};
use super::points::Point;
use crate::{Answer, QueryError, Value};

/// How far two equal numbers may lie apart, relative to their size.
const TOLERANCE: f64 = 1e-6;
/// Steps around an instant case when it is repeated as a range query.
pub(crate) const REPEAT_STEP_MS: i64 = 60_000;

/// Whether a query that failed was to fail like this.
pub(crate) fn check_error(case: &Case, error: &QueryError) -> Result<(), String> {
    let Some(texts) = &case.fail else { return Err(format!("failed: {error}")) };
    let message = error.to_string();
    // Scripts leave out where a text fails to parse.
    let bare = if let QueryError::Parse(error) = error { error.message.as_str() } else { message.as_str() };
    match texts.iter().find(|text| !text.fits(&message) && !text.fits(bare)) {
        Some(text) => Err(format!("failed with {message:?}, expected {text:?}")),
        None => Ok(()),
    }
}

/// Whether an answer is the expected one.
pub(crate) fn check_answer(case: &Case, answer: &Answer) -> Result<(), String> {
    if case.fail.is_some() {
        return Err(format!("did not fail but yielded {:?}", answer.value));
    }
    check_annotations("warning", &case.warnings, &answer.warnings)?;
    check_annotations("info", &case.infos, &answer.infos)?;
    match (&answer.value, case.time) {
        (Value::Scalar { value, .. }, _) => match case.scalar {
            Some(want) if is_close(*value, want) => Ok(()),
            want => Err(format!("yielded the scalar {value}, expected {want:?}")),
        },
        (Value::String { text, .. }, _) => match &case.string {
            Some(want) if want == text => Ok(()),
            want => Err(format!("yielded the string {text:?}, expected {want:?}")),
        },
        (Value::Vector(vector), _) => {
            let got: Vec<(&Labels, SampleValue)> =
                vector.iter().map(|element| (&element.labels, element.value.clone())).collect();
            check_vector(case, &got, case.is_ordered)
        }
        (Value::Matrix(matrix), time) => {
            let (start_ms, step_ms) = match (time, case.range_vector) {
                (_, Some(range_vector)) => range_vector,
                (CaseTime::Range { start_ms, step_ms, .. }, None) => (start_ms, step_ms),
                (CaseTime::Instant { .. }, None) => return Err("yielded a range vector".to_owned()),
            };
            let got: Vec<(&Labels, &Samples)> = matrix.iter().map(|one| (&one.labels, &one.samples)).collect();
            check_matrix(case, &got, start_ms, step_ms)
        }
    }
}

/// Whether the range query around an instant case yields the same at the case's time.
pub(crate) fn check_repeated(case: &Case, time_ms: i64, answer: &Answer) -> Result<(), String> {
    let Value::Matrix(matrix) = &answer.value else { return Err("a range query yielded no matrix".to_owned()) };
    let at_time = |samples: &Samples| samples.iter_full().find(|one| one.timestamp_ms == time_ms).map(|one| one.value);
    let got: Vec<(&Labels, SampleValue)> =
        matrix.iter().filter_map(|one| Some((&one.labels, at_time(&one.samples)?))).collect();
    let result = match (case.scalar, got.as_slice()) {
        (Some(want), [(_, SampleValue::Float(value))]) if is_close(*value, want) => Ok(()),
        (Some(want), got) => Err(format!("yielded {}, expected the scalar {want}", all(got))),
        (None, got) => check_vector(case, got, false),
    };
    result.map_err(|reason| format!("as a range query: {reason}"))
}

fn check_vector(case: &Case, got: &[(&Labels, SampleValue)], is_ordered: bool) -> Result<(), String> {
    for (at, (labels, points)) in case.series.iter().enumerate() {
        let [want @ (Point::Value(_) | Point::Histogram(_))] = points.as_slice() else {
            return Err(format!("an instant case needs one value a series, found {points:?}"));
        };
        let found = if is_ordered {
            got.get(at).filter(|(found, _)| *found == labels)
        } else {
            got.iter().find(|(found, _)| *found == labels)
        };
        match found {
            Some((_, value)) if want.fits(value) => {}
            Some((_, value)) => return Err(format!("{labels} is {}, expected {}", shown(value), want.text())),
            None => return Err(format!("{labels} {} is missing in {}", want.text(), all(got))),
        }
    }
    match got.iter().find(|(labels, _)| !case.series.iter().any(|(want, _)| want == *labels)) {
        Some((labels, value)) => Err(format!("{labels} {} is unexpected", shown(value))),
        None if got.len() != case.series.len() => Err(format!("{} has a series twice", all(got))),
        None => Ok(()),
    }
}

fn check_matrix(case: &Case, got: &[(&Labels, &Samples)], start_ms: i64, step_ms: i64) -> Result<(), String> {
    for (labels, points) in &case.series {
        let times = (0i64..).map(|at| start_ms.saturating_add(step_ms.saturating_mul(at)));
        let want: Vec<(i64, &Point)> = times.zip(points).filter(|(_, point)| **point != Point::Absent).collect();
        let Some((_, samples)) = got.iter().find(|(found, _)| *found == labels) else {
            if want.is_empty() {
                continue;
            }
            let labels_got: Vec<String> = got.iter().map(|(labels, _)| labels.to_string()).collect();
            return Err(format!("{labels} is missing in {labels_got:?}"));
        };
        let fits = |((time_ms, want), got): (&(i64, &Point), FullSample)| {
            *time_ms == got.timestamp_ms && want.fits(&got.value)
        };
        if samples.len() != want.len() || !want.iter().zip(samples.iter_full()).all(fits) {
            let want: Vec<String> = want.iter().map(|(time_ms, point)| format!("{}@{time_ms}", point.text())).collect();
            return Err(format!("{labels} is {}, expected {}", points_shown(samples), want.join(" ")));
        }
    }
    match got.iter().find(|(labels, _)| !case.series.iter().any(|(want, _)| want == *labels)) {
        Some((labels, samples)) => Err(format!("{labels} {} is unexpected", points_shown(samples))),
        None => Ok(()),
    }
}

impl Point {
    fn fits(&self, got: &SampleValue) -> bool {
        match (self, got) {
            (Self::Value(want), SampleValue::Float(got)) => is_close(*got, *want),
            (Self::Histogram(want), SampleValue::Histogram(got)) => want.fits(got),
            _ => false,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Absent => "_".to_owned(),
            Self::Value(value) => value.to_string(),
            Self::Histogram(shown) => Notation(&shown.histogram).to_string(),
        }
    }
}

fn shown(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(value) => value.to_string(),
        SampleValue::Histogram(histogram) => Notation(histogram).to_string(),
    }
}

fn all(got: &[(&Labels, SampleValue)]) -> String {
    let got: Vec<String> = got.iter().map(|(labels, value)| format!("{labels} {}", shown(value))).collect();
    format!("[{}]", got.join(", "))
}

fn points_shown(samples: &Samples) -> String {
    let points: Vec<String> =
        samples.iter_full().map(|one| format!("{}@{}", shown(&one.value), one.timestamp_ms)).collect();
    points.join(" ")
}

fn check_annotations(kind: &str, want: &Annotations, got: &[String]) -> Result<(), String> {
    match want {
        Annotations::None if !got.is_empty() => Err(format!("unexpected {kind}: {got:?}")),
        Annotations::Some(_) if got.is_empty() => Err(format!("no {kind}")),
        Annotations::Some(texts) if texts.is_empty() => Ok(()),
        Annotations::Some(texts) => {
            let fits = |text: &Text, got: &String| text.fits(without_place(got)) || text.fits(got);
            if let Some(text) = texts.iter().find(|text| !got.iter().any(|got| fits(text, got))) {
                return Err(format!("no {kind} like {text:?} among {got:?}"));
            }
            match got.iter().find(|got| !texts.iter().any(|text| fits(text, got))) {
                Some(got) => Err(format!("unexpected {kind} {got:?}")),
                None => Ok(()),
            }
        }
        Annotations::Any | Annotations::None => Ok(()),
    }
}

/// An annotation without its ` (line:column)` and without details that differ from query to query, which scripts leave
/// out.
fn without_place(text: &str) -> &str {
    match text.rsplit_once(" (") {
        Some((head, place)) if place.ends_with(')') && place.starts_with(|c: char| c.is_ascii_digit()) => {
            head.split_once(", from buckets ").map_or(head, |(head, _)| head)
        }
        _ => text,
    }
}

impl Text {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exactly(want) => text == want,
            Self::Matching(pattern) => Regex::new(pattern).is_ok_and(|regex| regex.is_match(text)),
        }
    }
}

/// Whether two numbers are equal within the tolerance; NaN equals NaN.
pub(crate) fn is_close(a: f64, b: f64) -> bool {
    let (difference, size) = ((a - b).abs(), a.abs() + b.abs());
    let is_same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || difference == 0.0;
    if is_same || a.is_nan() || b.is_nan() || a.is_infinite() || b.is_infinite() {
        return is_same;
    }
    if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / size.min(f64::MAX) < TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closeness() {
        for (a, b, want) in [
            (1.0, 1.0 + 1e-7, true),
            (1.0, 1.0 + 1e-5, false),
            (0.0, -0.0, true),
            (0.0, 1e-9, false),
            (f64::NAN, f64::NAN, true),
            (f64::INFINITY, f64::INFINITY, true),
            (f64::INFINITY, f64::MAX, false),
            (f64::NAN, 1.0, false),
            (1e308, -1e308, false),
        ] {
            assert_eq!(is_close(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn places_are_cut() {
        assert_eq!(without_place("a (b) (1:7)"), "a (b)");
        assert_eq!(without_place("a (b)"), "a (b)");
    }
}
