//! What the query API answers, as values.
//!
//! Values keep the server's text: a table shows the digits that the API sent. Histograms are read in `histogram`.

use std::collections::BTreeMap;
use std::fmt;

use model::labels::{METRIC_NAME, Quoted, is_label_name, is_metric_name};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

use super::explain::{NODES_MAX, Plan, Stats};
use super::histogram::Histogram;

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
    /// What each part cost, if that was asked for.
    pub(crate) plan: Option<Plan>,
    /// What it cost, if that was asked for.
    pub(crate) stats: Option<Stats>,
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

/// A value at a time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) timestamp_ms: i64,
    pub(crate) reading: Reading,
}

/// What a point holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading {
    /// A number or, in an answer of type string, any text; as sent.
    Text(String),
    Histogram(Histogram),
}

impl Point {
    /// A number at a time, its text as sent.
    #[cfg(test)]
    pub(crate) fn new(timestamp_ms: i64, text: impl Into<String>) -> Self {
        Self { timestamp_ms, reading: Reading::Text(text.into()) }
    }

    /// The value as a number; NaN if it is none, such as a histogram.
    pub(crate) fn number(&self) -> f64 {
        match &self.reading {
            Reading::Text(text) => text.parse().unwrap_or(f64::NAN),
            Reading::Histogram(_) => f64::NAN,
        }
    }

    /// The histogram, if it is one.
    pub(crate) fn histogram(&self) -> Option<&Histogram> {
        match &self.reading {
            Reading::Text(_) => None,
            Reading::Histogram(histogram) => Some(histogram),
        }
    }
}

/// The text as sent; a histogram on one line.
impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Histogram(histogram) => histogram.fmt(f),
        }
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

/// The response around a plan of type `P`.
#[derive(Deserialize)]
#[serde(bound = "P: Deserialize<'de>")]
struct Envelope<P> {
    data: Data<P>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
#[serde(bound = "P: Deserialize<'de>")]
struct Data<P> {
    /// Empty if only a plan was sent.
    #[serde(rename = "resultType", default)]
    kind: String,
    #[serde(default)]
    result: Json,
    explain: Option<P>,
    stats: Option<Stats>,
}

impl Envelope<Plan> {
    /// Reads a response. A plan that cannot be read, as it nests deeper than JSON is read here, does not cost the
    /// answer.
    fn parse(body: &str) -> Result<Self, String> {
        let error = match serde_json::from_str(body) {
            Ok(envelope) => return Ok(envelope),
            Err(error) => error.to_string(),
        };
        match serde_json::from_str::<Envelope<IgnoredAny>>(body) {
            Ok(Envelope { data, warnings, mut infos }) if data.explain.is_some() => {
                infos.push(format!("the plan is not shown: {error}"));
                let data = Data { kind: data.kind, result: data.result, explain: None, stats: data.stats };
                Ok(Self { data, warnings, infos })
            }
            _ => Err(error),
        }
    }
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

/// Unix seconds and a reading.
#[derive(Deserialize)]
struct WirePoint(f64, WireReading);

#[derive(Deserialize)]
#[serde(untagged)]
enum WireReading {
    Text(String),
    Histogram(Histogram),
}

impl From<WirePoint> for Point {
    #[expect(clippy::cast_possible_truncation, reason = "a float to an integer saturates")]
    fn from(WirePoint(seconds, reading): WirePoint) -> Self {
        let reading = match reading {
            WireReading::Text(text) => Reading::Text(text),
            WireReading::Histogram(histogram) => Reading::Histogram(histogram),
        };
        Self { timestamp_ms: (seconds * 1000.0).round() as i64, reading }
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
        let Envelope { data, warnings, infos } = Envelope::parse(&body)?;
        let series = |result: Json| -> Result<Vec<Series>, String> {
            let wire: Vec<WireSeries> = serde_json::from_value(result).map_err(|error| error.to_string())?;
            Ok(wire.into_iter().map(Series::from).collect())
        };
        let point = |result: Json| serde_json::from_value::<WirePoint>(result).map_err(|error| error.to_string());
        if data.explain.as_ref().is_some_and(|plan| plan.nodes().len() > NODES_MAX) {
            return Err(format!("the plan has more than {NODES_MAX} nodes"));
        }
        let value = match data.kind.as_str() {
            "" if data.explain.is_some() => Value::Vector(Vec::new()),
            "vector" => Value::Vector(series(data.result)?),
            "matrix" => Value::Matrix(series(data.result)?),
            "scalar" => Value::Scalar(point(data.result)?.into()),
            "string" => Value::String(point(data.result)?.into()),
            other => return Err(format!("result type {other:?} is unknown")),
        };
        Ok(Self { value, warnings, infos, plan: data.explain, stats: data.stats, body })
    }
}

/// Series for tests of what shows them: labels as `a=b` pairs, points as (seconds, text).
#[cfg(test)]
pub(crate) fn series(labels: &[(&str, &str)], points: &[(i64, &str)]) -> Series {
    Series {
        labels: labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        points: points.iter().map(|&(seconds, text)| Point::new(seconds * 1000, text)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::histogram;
    use super::*;

    #[track_caller]
    fn value(data: &str) -> Result<Value, String> {
        Answer::parse(format!(r#"{{"status":"success","data":{data}}}"#)).map(|answer| answer.value)
    }

    #[test]
    fn every_kind_of_answer_is_read() {
        let vector = value(r#"{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1.5,"+Inf"]}]}"#);
        let point = Point::new(1500, "+Inf");
        let labels = LabelMap::from([("a".to_owned(), "b".to_owned())]);
        assert_eq!(vector, Ok(Value::Vector(vec![Series { labels, points: vec![point] }])));
        let matrix = value(r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"],[3,"NaN"]]}]}"#);
        assert_eq!(matrix, Ok(Value::Matrix(vec![series(&[], &[(1, "2"), (3, "NaN")])])));
        let scalar = value(r#"{"resultType":"scalar","result":[1,"-0"]}"#);
        assert_eq!(scalar, Ok(Value::Scalar(Point::new(1000, "-0"))));
        let string = value(r#"{"resultType":"string","result":[1,"x"]}"#);
        assert_eq!(string, Ok(Value::String(Point::new(1000, "x"))));
        assert!(value(r#"{"resultType":"table","result":[]}"#).is_err());
        assert!(value("[]").is_err());
        assert!(Answer::parse("<html>".into()).is_err());
    }

    #[test]
    fn histograms_stand_beside_numbers() {
        let body = r#"{"resultType":"matrix","result":[{"metric":{},"values":[[2,"7"]],"histograms":
            [[1,{"count":"3","sum":"4","buckets":[[0,"1","2","3"]]}],[3,{"count":"0","sum":"0"}]]}]}"#;
        let of =
            |seconds: i64, histogram| Point { timestamp_ms: seconds * 1000, reading: Reading::Histogram(histogram) };
        let points = vec![
            of(1, histogram("3", "4", &[(0, "1", "2", "3")])),
            Point::new(2000, "7"),
            of(3, histogram("0", "0", &[])),
        ];
        assert_eq!(value(body), Ok(Value::Matrix(vec![Series { labels: LabelMap::new(), points }])));
        assert!(value(r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"sum":"3"}]}]}"#).is_err());
        assert!(value(r#"{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}"#).is_err());
    }

    #[test]
    fn a_plan_that_nests_too_deep_does_not_cost_the_answer() {
        let deep = r#"{"node":"+","children":["#.repeat(200) + &"]}".repeat(200);
        let body = format!(r#"{{"data":{{"resultType":"scalar","result":[1,"2"],"explain":{deep}}}}}"#);
        let answer = Answer::parse(body).expect("the answer is there");
        assert_eq!((answer.value, answer.plan), (Value::Scalar(Point::new(1000, "2")), None));
        assert!(answer.infos[0].starts_with("the plan is not shown: recursion limit"), "{:?}", answer.infos);
    }

    #[test]
    fn plans_and_costs_come_along_and_a_plan_may_come_alone() {
        let both = r#"{"status":"success","data":{"resultType":"vector","result":[],
            "explain":{"node":"up","timeUs":3},"stats":{"samples":{"totalQueryableSamples":9}}}}"#;
        let answer = Answer::parse(both.into()).expect("reads");
        assert_eq!(answer.plan.map(|plan| plan.time_us), Some(3));
        assert_eq!(answer.stats.map(|stats| stats.samples.total_queryable_samples), Some(9));
        assert!(value(r#"{"explain":{"node":"up"}}"#).is_ok());
        assert!(value("{}").is_err());
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
