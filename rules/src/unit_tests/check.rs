//! From what YAML says to tests: every field checked, every fault kept.

use std::collections::BTreeSet;

use model::{FullSample, Labels};
use query::script::{ExpectedHistogram, read_labels, read_series};
use serde_saphyr::{Location, Spanned};

use super::raw::{RawAlertCase, RawExprCase, RawFile, RawSample, RawSeries, RawTest};
use super::{AlertCase, AlertText, EVALUATIONS_MAX, Expected, ExprCase, POINTS_MAX, Test, TestFile};
use crate::yaml::{Faults, FileFault, at};

/// The interval of a file that names none.
const INTERVAL_MS: i64 = 60_000;

struct Checker<'a> {
    faults: Faults<'a>,
    interval_ms: i64,
    points: usize,
}

/// Checks a whole file.
pub(super) fn file(name: &str, raw: RawFile) -> Result<TestFile, Vec<FileFault>> {
    let mut checker = Checker { faults: Faults::of(name), interval_ms: INTERVAL_MS, points: 0 };
    if let Some(interval_ms) = checker.duration(raw.evaluation_interval.as_ref(), "evaluation_interval") {
        // As for Prometheus, 0 is as good as none.
        checker.interval_ms = if interval_ms == 0 { INTERVAL_MS } else { interval_ms };
    }
    let mut seen = BTreeSet::new();
    for group in raw.group_eval_order.iter().flatten() {
        if !seen.insert(&group.value) {
            checker.wrong(at(group), format!("group {:?} is in group_eval_order twice", group.value));
        }
    }
    let tests = raw.tests.unwrap_or_default().into_iter().map(|test| checker.test(test)).collect();
    checker.faults.none_or_all()?;
    Ok(TestFile {
        name: name.to_owned(),
        rule_files: raw.rule_files.unwrap_or_default(),
        evaluation_interval_ms: checker.interval_ms,
        group_order: raw.group_eval_order.unwrap_or_default().into_iter().map(|group| group.value).collect(),
        is_fuzzy: raw.fuzzy_compare,
        tests,
    })
}

impl Checker<'_> {
    fn wrong(&mut self, at: Location, message: impl Into<String>) {
        self.faults.wrong(at, message);
    }

    fn duration(&mut self, text: Option<&Spanned<String>>, what: &str) -> Option<i64> {
        self.faults.duration(text, what)
    }

    /// A time of a case, which is bounded so that a slip of the pen does not take a day.
    fn eval_time(&mut self, text: Option<&Spanned<String>>) -> i64 {
        let at_ms = self.duration(text, "eval_time").unwrap_or(0);
        if let Some(text) = text
            && at_ms / self.interval_ms > EVALUATIONS_MAX
        {
            let message = format!(
                "eval_time: more than {EVALUATIONS_MAX} evaluations before; is evaluation_interval that short?"
            );
            self.wrong(at(text), message);
        }
        at_ms
    }

    fn test(&mut self, raw: Spanned<RawTest>) -> Test {
        let line = at(&raw).line().max(1);
        let raw = raw.value;
        let interval_ms = self.duration(raw.interval.as_ref(), "interval").filter(|&ms| ms > 0);
        let interval_ms = interval_ms.unwrap_or(self.interval_ms);
        let start_ms = raw.start_timestamp.as_ref().map_or(0, |text| self.start(text));
        let series = raw.input_series.unwrap_or_default().into_iter();
        Test {
            name: raw.name.unwrap_or_default(),
            line,
            start_ms,
            interval_ms,
            series: series.filter_map(|series| self.series(&series, interval_ms, start_ms)).collect(),
            alerts: raw.alert_rule_test.unwrap_or_default().into_iter().map(|case| self.alert(case)).collect(),
            exprs: raw.promql_expr_test.unwrap_or_default().into_iter().map(|case| self.expr(case)).collect(),
            external_labels: raw.external_labels.unwrap_or_default(),
            external_url: raw.external_url.unwrap_or_default(),
        }
    }

    /// Unix seconds or a date.
    fn start(&mut self, text: &Spanned<String>) -> i64 {
        let seconds = text.value.parse::<f64>().ok().filter(|seconds| seconds.abs() < 1e12);
        #[expect(clippy::cast_possible_truncation, reason = "within the bounds just checked")]
        let of_seconds = seconds.map(|seconds| (seconds * 1000.0).round() as i64);
        let of_date = || text.value.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        of_seconds.or_else(of_date).unwrap_or_else(|| {
            let message = format!(
                "start_timestamp: {:?} is neither Unix seconds nor a date such as 2026-01-01T00:00:00Z",
                text.value
            );
            self.wrong(at(text), message);
            0
        })
    }

    fn series(&mut self, raw: &RawSeries, interval_ms: i64, start_ms: i64) -> Option<(Labels, Vec<FullSample>)> {
        if let Err(error) = read_labels(&raw.series.value) {
            self.wrong(at(&raw.series), format!("series: {error}"));
            return None;
        }
        match read_series(&raw.series.value, &raw.values.value, interval_ms) {
            Ok((labels, mut samples)) => {
                self.points += samples.len();
                if self.points > POINTS_MAX {
                    self.wrong(at(&raw.values), format!("values: more than {POINTS_MAX} points in the file"));
                    return None;
                }
                for sample in &mut samples {
                    sample.timestamp_ms = sample.timestamp_ms.saturating_add(start_ms);
                }
                Some((labels, samples))
            }
            Err(error) => {
                self.wrong(at(&raw.values), format!("values: {error}"));
                None
            }
        }
    }

    fn alert(&mut self, raw: Spanned<RawAlertCase>) -> AlertCase {
        let place = at(&raw);
        let RawAlertCase { eval_time, alertname, exp_alerts } = raw.value;
        let alertname = alertname.unwrap_or_default();
        if alertname.is_empty() {
            self.wrong(place, "a case of alert_rule_test has no alertname");
        }
        let expected = exp_alerts.unwrap_or_default().into_iter().map(|alert| {
            let mut labels = alert.exp_labels.unwrap_or_default();
            labels.insert("alertname".to_owned(), alertname.clone());
            AlertText { labels, annotations: alert.exp_annotations.unwrap_or_default() }
        });
        let expected = expected.collect();
        AlertCase { line: place.line().max(1), at_ms: self.eval_time(eval_time.as_ref()), alertname, expected }
    }

    fn expr(&mut self, raw: Spanned<RawExprCase>) -> ExprCase {
        let line = at(&raw).line().max(1);
        let RawExprCase { expr, eval_time, exp_samples } = raw.value;
        let samples = exp_samples.unwrap_or_default();
        let expected = samples.iter().filter_map(|sample| self.sample(sample)).collect();
        ExprCase { line, at_ms: self.eval_time(eval_time.as_ref()), expr, expected }
    }

    fn sample(&mut self, raw: &RawSample) -> Option<(Labels, Expected)> {
        let labels = match &raw.labels {
            None => Labels::empty(),
            Some(text) if text.value.trim().is_empty() => Labels::empty(),
            Some(text) => match read_labels(&text.value) {
                Ok(labels) => labels,
                Err(error) => {
                    self.wrong(at(text), format!("labels: {error}"));
                    return None;
                }
            },
        };
        let histogram = raw.histogram.as_ref().filter(|text| !text.value.is_empty());
        if let Some(text) = histogram {
            return match ExpectedHistogram::read(&text.value) {
                Ok(histogram) => Some((labels, Expected::Histogram(Box::new(histogram)))),
                Err(error) => {
                    self.wrong(at(text), format!("histogram: {error}"));
                    None
                }
            };
        }
        let value = raw.value.as_ref().map_or(Some(0.0), |text| number(&text.value));
        if let (None, Some(text)) = (value, &raw.value) {
            self.wrong(at(text), format!("value: {:?} is no number", text.value));
        }
        Some((labels, Expected::Float(value?)))
    }
}

/// A number as YAML or PromQL writes it.
fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let whole = |digits: &str, radix| u64::from_str_radix(digits, radix).ok();
    #[expect(clippy::cast_precision_loss, reason = "a number is a double here, as in YAML")]
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        whole(hex, 16)? as f64
    } else if let Some(octal) = digits.strip_prefix("0o") {
        whole(octal, 8)? as f64
    } else {
        // `.inf` and `.nan`, but also `.5`.
        digits.parse().ok().or_else(|| digits.strip_prefix('.')?.parse().ok())?
    };
    Some(sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases = [
            ("1", 1.0),
            ("-2.5e3", -2500.0),
            (".5", 0.5),
            (".inf", f64::INFINITY),
            ("-.Inf", f64::NEG_INFINITY),
            ("+Inf", f64::INFINITY),
            ("0x10", 16.0),
            ("-0o17", -15.0),
        ];
        for (text, want) in cases {
            assert_eq!(number(text).map(f64::to_bits), Some(want.to_bits()), "{text}");
        }
        assert!(number(".nan").is_some_and(f64::is_nan) && number("NaN").is_some_and(f64::is_nan));
        for text in ["", "-", "--1", "1x", "0x", "ten", "1 2"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
