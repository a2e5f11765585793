//! The answer of a query as JSON: `{"resultType":…,"result":…}`, written piece by piece.
//!
//! Owns the shape of results. Numbers, strings and labels are written by `json`, the envelope by `reply`.

use model::{Labels, SampleValue};
use query::{AnswerMemory, Series, Value, VectorElement};

use crate::histogram_json::write_histogram;
use crate::json::{write_labels, write_string, write_timestamp, write_value};
use crate::reply::WriteData;

/// Writes a query's result, then what goes beside it.
pub(crate) struct AnswerWriter {
    /// What goes before the result; empty once it is written.
    head: String,
    rest: Rest,
    /// What goes before the next element.
    separator: &'static str,
    /// JSON documents that go beside the result, by their names.
    beside: Vec<(&'static str, Vec<u8>)>,
    /// What is accounted for the result until all of it is written.
    _memory: Option<AnswerMemory>,
}

/// What of the result is still to be written.
enum Rest {
    /// A scalar or string, written whole.
    Single(Vec<u8>),
    Vector(std::vec::IntoIter<VectorElement>),
    Matrix {
        series: std::vec::IntoIter<Series>,
        /// The series begun, and its next sample.
        current: Option<(Series, usize)>,
    },
}

impl AnswerWriter {
    pub(crate) fn new(value: Value, memory: Option<AnswerMemory>, beside: Vec<(&'static str, Vec<u8>)>) -> Self {
        let (result_type, rest) = match value {
            Value::Scalar { timestamp_ms, value } => {
                ("scalar", Rest::Single(pair(timestamp_ms, |out| write_value(out, value))))
            }
            Value::String { timestamp_ms, text } => {
                ("string", Rest::Single(pair(timestamp_ms, |out| write_string(out, &text))))
            }
            Value::Vector(elements) => ("vector", Rest::Vector(elements.into_iter())),
            Value::Matrix(series) => ("matrix", Rest::Matrix { series: series.into_iter(), current: None }),
        };
        let bracket = if matches!(rest, Rest::Single(_)) { "" } else { "[" };
        let head = format!(r#"{{"resultType":"{result_type}","result":{bracket}"#);
        Self { head, rest, separator: "", beside, _memory: memory }
    }
}

/// Cuts a vector or matrix to `limit` elements. Returns whether anything was cut.
pub(crate) fn truncate(value: &mut Value, limit: usize) -> bool {
    fn cut<T>(list: &mut Vec<T>, limit: usize) -> bool {
        let found = list.len();
        list.truncate(limit);
        found > limit
    }
    match value {
        Value::Vector(elements) => cut(elements, limit),
        Value::Matrix(series) => cut(series, limit),
        Value::Scalar { .. } | Value::String { .. } => false,
    }
}

impl WriteData for AnswerWriter {
    fn write(&mut self, out: &mut Vec<u8>, until_bytes: usize) -> bool {
        out.extend_from_slice(std::mem::take(&mut self.head).as_bytes());
        while out.len() < until_bytes {
            if self.write_next(out, until_bytes) {
                continue;
            }
            for (name, document) in &mut self.beside {
                out.push(b',');
                write_string(out, name);
                out.push(b':');
                out.append(document);
            }
            out.push(b'}');
            return true;
        }
        false
    }
}

impl AnswerWriter {
    /// Writes the next element, or as much of it as fits. Returns false instead when the result's end was written.
    fn write_next(&mut self, out: &mut Vec<u8>, until_bytes: usize) -> bool {
        match &mut self.rest {
            Rest::Single(text) => {
                out.append(text);
                return false;
            }
            Rest::Vector(elements) => {
                if let Some(element) = elements.next() {
                    begin_element(out, self.separator, &element.labels);
                    match &element.value {
                        SampleValue::Float(value) => {
                            out.extend_from_slice(br#","value":"#);
                            write_pair(out, element.timestamp_ms, |out| write_value(out, *value));
                        }
                        SampleValue::Histogram(histogram) => {
                            out.extend_from_slice(br#","histogram":"#);
                            write_pair(out, element.timestamp_ms, |out| write_histogram(out, histogram));
                        }
                    }
                    out.push(b'}');
                    self.separator = ",";
                    return true;
                }
            }
            Rest::Matrix { series, current } => {
                if current.is_none()
                    && let Some(next) = series.next()
                {
                    begin_element(out, self.separator, &next.labels);
                    self.separator = ",";
                    *current = Some((next, 0));
                }
                if let Some((series, at)) = current {
                    if write_samples(series, at, out, until_bytes) {
                        *current = None;
                    }
                    return true;
                }
            }
        }
        out.push(b']');
        false
    }
}

fn begin_element(out: &mut Vec<u8>, separator: &str, labels: &Labels) {
    out.extend_from_slice(separator.as_bytes());
    out.extend_from_slice(br#"{"metric":"#);
    write_labels(out, labels.as_ref());
}

/// Writes samples from `at` on and the end of the series, or up to `until_bytes`. Returns whether the series ended.
/// Floats come first, then histograms; the list of a kind that does not occur is left out.
fn write_samples(series: &Series, at: &mut usize, out: &mut Vec<u8>, until_bytes: usize) -> bool {
    let samples = &series.samples;
    let floats = samples.timestamps_ms.len();
    for (&timestamp_ms, &value) in samples.timestamps_ms.iter().zip(&samples.values).skip(*at) {
        if out.len() >= until_bytes {
            return false;
        }
        out.extend_from_slice(if *at == 0 { br#","values":["# } else { b"," });
        write_pair(out, timestamp_ms, |out| write_value(out, value));
        *at += 1;
        if *at == floats {
            out.push(b']');
        }
    }
    for sample in samples.histograms.iter().skip(at.saturating_sub(floats)) {
        if out.len() >= until_bytes {
            return false;
        }
        out.extend_from_slice(if *at == floats { br#","histograms":["# } else { b"," });
        write_pair(out, sample.timestamp_ms, |out| write_histogram(out, &sample.histogram));
        *at += 1;
        if *at == samples.len() {
            out.push(b']');
        }
    }
    out.push(b'}');
    true
}

fn write_pair(out: &mut Vec<u8>, timestamp_ms: i64, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'[');
    write_timestamp(out, timestamp_ms);
    out.push(b',');
    write(out);
    out.push(b']');
}

/// The pair of a scalar or string. Prometheus writes the time of these, unlike that of samples, without zeros at the
/// end of its fraction.
fn pair(timestamp_ms: i64, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![b'['];
    write_timestamp(&mut out, timestamp_ms);
    if timestamp_ms % 1000 != 0 {
        while out.pop_if(|digit| *digit == b'0').is_some() {}
    }
    out.push(b',');
    write(&mut out);
    out.push(b']');
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Histogram, HistogramSample, Samples};

    use super::*;

    /// The whole text, and that it is the same however small the pieces are.
    #[track_caller]
    fn check(value: impl Fn() -> Value, stats: Option<&str>, want: &str) {
        for until_bytes in [usize::MAX, 1, 7, 40] {
            let mut writer = AnswerWriter::new(
                value(),
                None,
                stats.map(|stats| ("stats", stats.as_bytes().to_vec())).into_iter().collect(),
            );
            let mut whole = Vec::new();
            let mut pieces = 0;
            loop {
                let mut piece = Vec::new();
                let ended = writer.write(&mut piece, until_bytes);
                assert!(ended || piece.len() >= until_bytes, "a piece that is not the last is full");
                whole.append(&mut piece);
                pieces += 1;
                assert!(pieces < 1_000, "the writer ends");
                if ended {
                    break;
                }
            }
            assert_eq!(String::from_utf8(whole).unwrap(), want, "in pieces of {until_bytes}");
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    fn samples(pairs: &[(i64, f64)]) -> Samples {
        let mut samples = Samples::default();
        for &(timestamp_ms, value) in pairs {
            samples.push(timestamp_ms, value);
        }
        samples
    }

    #[test]
    fn singles() {
        let scalar = || Value::Scalar { timestamp_ms: 1_435_781_451_781, value: 1e-7 };
        check(scalar, None, r#"{"resultType":"scalar","result":[1435781451.781,"1e-07"]}"#);
        let scalar = || Value::Scalar { timestamp_ms: 10_500, value: 1.0 };
        check(scalar, None, r#"{"resultType":"scalar","result":[10.5,"1"]}"#);
        let scalar = || Value::Scalar { timestamp_ms: 10_000, value: 1.0 };
        check(scalar, None, r#"{"resultType":"scalar","result":[10,"1"]}"#);
        let string = || Value::String { timestamp_ms: -5, text: "a\"b".into() };
        check(string, Some("{}"), r#"{"resultType":"string","result":[-0.005,"a\"b"],"stats":{}}"#);
    }

    #[test]
    fn vectors() {
        check(|| Value::Vector(Vec::new()), None, r#"{"resultType":"vector","result":[]}"#);
        let vector = || {
            Value::Vector(vec![
                VectorElement {
                    labels: labels(&[("__name__", "up")]),
                    timestamp_ms: 10_000,
                    value: SampleValue::Float(f64::INFINITY),
                },
                VectorElement { labels: Labels::empty(), timestamp_ms: 10_000, value: SampleValue::Float(f64::NAN) },
            ])
        };
        check(
            vector,
            None,
            concat!(
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"up"},"value":[10,"+Inf"]},"#,
                r#"{"metric":{},"value":[10,"NaN"]}]}"#
            ),
        );
    }

    #[test]
    fn matrices() {
        check(
            || Value::Matrix(Vec::new()),
            Some("{\"a\":1}"),
            r#"{"resultType":"matrix","result":[],"stats":{"a":1}}"#,
        );
        let matrix = || {
            Value::Matrix(vec![
                Series { labels: labels(&[("a", "1")]), samples: samples(&[(0, 1.0), (500, -0.5), (1_000, 2.0)]) },
                Series { labels: labels(&[("a", "2")]), samples: samples(&[(0, 3.0)]) },
            ])
        };
        check(
            matrix,
            None,
            concat!(
                r#"{"resultType":"matrix","result":[{"metric":{"a":"1"},"values":[[0,"1"],[0.500,"-0.5"],[1,"2"]]},"#,
                r#"{"metric":{"a":"2"},"values":[[0,"3"]]}]}"#
            ),
        );
    }

    fn histogram(count: f64) -> Arc<Histogram> {
        Arc::new(Histogram { count, sum: 0.5, ..Histogram::default() })
    }

    /// Histograms stand beside floats; the list of a kind that does not occur is left out.
    #[test]
    fn histograms() {
        let vector = || {
            let value = SampleValue::Histogram(histogram(2.0));
            Value::Vector(vec![VectorElement { labels: Labels::empty(), timestamp_ms: 1_500, value }])
        };
        check(
            vector,
            None,
            r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1.500,{"count":"2","sum":"0.5"}]}]}"#,
        );
        let of = |floats: &[(i64, f64)], histograms: &[i64]| {
            let mut samples = samples(floats);
            for &timestamp_ms in histograms {
                samples.histograms.push(HistogramSample { timestamp_ms, start_ms: 0, histogram: histogram(1.0) });
            }
            Series { labels: Labels::empty(), samples }
        };
        let matrix = || Value::Matrix(vec![of(&[], &[1_000, 2_000]), of(&[(0, 1.0)], &[1_000])]);
        check(
            matrix,
            None,
            concat!(
                r#"{"resultType":"matrix","result":["#,
                r#"{"metric":{},"histograms":[[1,{"count":"1","sum":"0.5"}],[2,{"count":"1","sum":"0.5"}]]},"#,
                r#"{"metric":{},"values":[[0,"1"]],"histograms":[[1,{"count":"1","sum":"0.5"}]]}]}"#
            ),
        );
    }

    #[test]
    fn truncation() {
        let element = || VectorElement { labels: Labels::empty(), timestamp_ms: 0, value: SampleValue::Float(0.0) };
        let mut value = Value::Vector(vec![element(), element()]);
        assert!(!truncate(&mut value, 2));
        assert!(truncate(&mut value, 1));
        assert!(matches!(&value, Value::Vector(left) if left.len() == 1));
        assert!(!truncate(&mut Value::Scalar { timestamp_ms: 0, value: 0.0 }, 0));
    }
}
