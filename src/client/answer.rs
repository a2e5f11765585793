//! What the query API answers, as values.
//!
//! Values keep the server's text: a table shows the digits that the API sent.

use std::collections::BTreeMap;
use std::fmt;

use model::labels::{METRIC_NAME, Quoted, is_label_name, is_metric_name};
use serde::Deserialize;
use serde_json::Value as Json;

/// Labels as the API sends them.
pub(crate) type LabelMap = BTreeMap<String, String>;

/// An answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// What was computed.
    pub(crate) value: Value,
    /// What may be wrong with it.
    pub(crate) warnings: Vec<String>,
    /// What may be surprising about it.
    pub(crate) infos: Vec<String>,
    /// The response as it came.
    pub(crate) body: String,
}

/// The four kinds of value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Point),
    String(Point),
    /// One point a series, in the order of the server.
    Vector(Vec<Series>),
    Matrix(Vec<Series>),
}

/// A series with its points in time order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: LabelMap,
    pub(crate) points: Vec<Point>,
}

/// A value at a time, its text as sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) timestamp_ms: i64,
    pub(crate) text: String,
}

impl Point {
    /// The value as a number; NaN if it is none, such as a histogram.
    pub(crate) fn number(&self) -> f64 {
        self.text.parse().unwrap_or(f64::NAN)
    }
}

/// `name{a="b"}`.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.labels.get(METRIC_NAME).map_or("", String::as_str);
        let bare = is_metric_name(name);
        if bare {
            f.write_str(name)?;
        }
        let mut parts: Vec<String> = if bare || name.is_empty() { vec![] } else { vec![Quoted(name).to_string()] };
        parts.extend(self.labels.iter().filter(|(label, _)| *label != METRIC_NAME).map(|(label, value)| {
            if is_label_name(label) {
                format!("{label}={}", Quoted(value))
            } else {
                format!("{}={}", Quoted(label), Quoted(value))
            }
        }));
        if bare && parts.is_empty() { Ok(()) } else { write!(f, "{{{}}}", parts.join(", ")) }
    }
}

#[derive(Deserialize)]
struct Envelope {
    data: Data,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Json,
}

#[derive(Deserialize)]
struct WireSeries {
    metric: LabelMap,
    value: Option<WirePoint>,
    histogram: Option<WirePoint>,
    #[serde(default)]
    values: Vec<WirePoint>,
    #[serde(default)]
    histograms: Vec<WirePoint>,
}

/// Unix seconds and a string; or a histogram.
#[derive(Deserialize)]
struct WirePoint(f64, Json);

impl From<WirePoint> for Point {
    #[expect(clippy::cast_possible_truncation, reason = "a float to an integer saturates")]
    fn from(WirePoint(seconds, value): WirePoint) -> Self {
        let text = match &value {
            Json::String(text) => text.clone(),
            Json::Object(histogram) => {
                let part = |key: &str| histogram.get(key).and_then(Json::as_str).unwrap_or("?").to_owned();
                format!("histogram: count {}, sum {}", part("count"), part("sum"))
            }
            other => other.to_string(),
        };
        Self { timestamp_ms: (seconds * 1000.0).round() as i64, text }
    }
}

impl From<WireSeries> for Series {
    fn from(wire: WireSeries) -> Self {
        let all = wire.value.into_iter().chain(wire.histogram).chain(wire.values).chain(wire.histograms);
        let mut points: Vec<Point> = all.map(Point::from).collect();
        points.sort_by_key(|point| point.timestamp_ms);
        Self { labels: wire.metric, points }
    }
}

impl Answer {
    /// Reads a successful response.
    pub(crate) fn parse(body: String) -> Result<Self, String> {
        let Envelope { data, warnings, infos } = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let series = |result: Json| -> Result<Vec<Series>, String> {
            let wire: Vec<WireSeries> = serde_json::from_value(result).map_err(|error| error.to_string())?;
            Ok(wire.into_iter().map(Series::from).collect())
        };
        let point = |result: Json| serde_json::from_value::<WirePoint>(result).map_err(|error| error.to_string());
        let value = match data.kind.as_str() {
            "vector" => Value::Vector(series(data.result)?),
            "matrix" => Value::Matrix(series(data.result)?),
            "scalar" => Value::Scalar(point(data.result)?.into()),
            "string" => Value::String(point(data.result)?.into()),
            other => return Err(format!("result type {other:?} is unknown")),
        };
        Ok(Self { value, warnings, infos, body })
    }
}

/// Series for tests of what shows them: labels as `a=b` pairs, points as (seconds, text).
#[cfg(test)]
pub(crate) fn series(labels: &[(&str, &str)], points: &[(i64, &str)]) -> Series {
    Series {
        labels: labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        points: points
            .iter()
            .map(|&(seconds, text)| Point { timestamp_ms: seconds * 1000, text: text.to_owned() })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn value(data: &str) -> Result<Value, String> {
        Answer::parse(format!(r#"{{"status":"success","data":{data}}}"#)).map(|answer| answer.value)
    }

    #[test]
    fn every_kind_of_answer_is_read() {
        let vector = value(r#"{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1.5,"+Inf"]}]}"#);
        let point = Point { timestamp_ms: 1500, text: "+Inf".into() };
        let labels = LabelMap::from([("a".to_owned(), "b".to_owned())]);
        assert_eq!(vector, Ok(Value::Vector(vec![Series { labels, points: vec![point] }])));
        let matrix = value(r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"],[3,"NaN"]]}]}"#);
        assert_eq!(matrix, Ok(Value::Matrix(vec![series(&[], &[(1, "2"), (3, "NaN")])])));
        let scalar = value(r#"{"resultType":"scalar","result":[1,"-0"]}"#);
        assert_eq!(scalar, Ok(Value::Scalar(Point { timestamp_ms: 1000, text: "-0".into() })));
        let string = value(r#"{"resultType":"string","result":[1,"x"]}"#);
        assert_eq!(string, Ok(Value::String(Point { timestamp_ms: 1000, text: "x".into() })));
        let histogram = value(
            r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"2","sum":"3","buckets":[]}]}]}"#,
        );
        assert_eq!(histogram, Ok(Value::Vector(vec![series(&[], &[(1, "histogram: count 2, sum 3")])])));
        assert!(value(r#"{"resultType":"table","result":[]}"#).is_err());
        assert!(value("[]").is_err());
        assert!(Answer::parse("<html>".into()).is_err());
    }

    #[test]
    fn warnings_come_along() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["w"],"infos":["i"]}"#;
        let answer = Answer::parse(body.into()).expect("reads");
        assert_eq!((answer.warnings, answer.infos), (vec!["w".to_owned()], vec!["i".to_owned()]));
    }

    #[test]
    fn series_are_written_as_promql_reads_them() {
        assert_eq!(series(&[("__name__", "up")], &[]).to_string(), "up");
        assert_eq!(series(&[("__name__", "up"), ("a", "x\"")], &[]).to_string(), r#"up{a="x\""}"#);
        assert_eq!(series(&[], &[]).to_string(), "{}");
        assert_eq!(series(&[("__name__", "a.b"), ("c.d", "e")], &[]).to_string(), r#"{"a.b", "c.d"="e"}"#);
    }
}
