//! Answers as CSV (RFC 4180): a column for each label, the time in RFC 3339, the value. A histogram is one value,
//! `{count:3, sum:4, (1,2]:3}`.

use std::collections::BTreeSet;

use super::append;
use crate::client::Value;
use crate::client::answer::{Point, Series};
use crate::when::show_rfc3339;

/// Writes `value` with a header.
pub(crate) fn write(value: &Value) -> String {
    match value {
        Value::Scalar(point) | Value::String(point) => {
            format!("time,value\n{},{}\n", show_rfc3339(point.timestamp_ms), field(&point.reading.to_string()))
        }
        Value::Vector(series) | Value::Matrix(series) => rows(series),
    }
}

fn rows(series: &[Series]) -> String {
    let names: BTreeSet<&str> = series.iter().flat_map(|series| series.labels.keys().map(String::as_str)).collect();
    let mut text = String::new();
    for name in &names {
        text.push_str(&field(name));
        text.push(',');
    }
    text.push_str("time,value\n");
    for series in series {
        let mut head = String::new();
        for name in &names {
            head.push_str(&field(series.labels.get(*name).map_or("", String::as_str)));
            head.push(',');
        }
        for Point { timestamp_ms, reading } in &series.points {
            append(&mut text, format_args!("{head}{},{}\n", show_rfc3339(*timestamp_ms), field(&reading.to_string())));
        }
    }
    text
}

/// Quotes what needs it.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::{Reading, series};
    use crate::client::histogram::histogram;

    #[test]
    fn rows_have_a_column_for_every_label() {
        let vector = Value::Vector(vec![
            series(&[("__name__", "up"), ("job", "a,\"b\"")], &[(1, "1")]),
            series(&[("instance", "x")], &[(2, "NaN")]),
        ]);
        let want = "__name__,instance,job,time,value\n\
                    up,,\"a,\"\"b\"\"\",1970-01-01T00:00:01Z,1\n\
                    ,x,,1970-01-01T00:00:02Z,NaN\n";
        assert_eq!(write(&vector), want);
        let scalar = Value::Scalar(Point::new(0, "3"));
        assert_eq!(write(&scalar), "time,value\n1970-01-01T00:00:00Z,3\n");
        let reading = Reading::Histogram(histogram("3", "4", &[(0, "1", "2", "3")]));
        let one = Series { labels: [].into(), points: vec![Point { timestamp_ms: 0, reading }] };
        let want = "time,value\n1970-01-01T00:00:00Z,\"{count:3, sum:4, (1,2]:3}\"\n";
        assert_eq!(write(&Value::Vector(vec![one])), want);
    }
}
