//! Whether two servers answer the same.
//!
//! Answers are compared as sets of series with points by time: how many of one are missing in the other, and how far
//! the values lie apart.

use std::collections::BTreeMap;

use model::METRIC_NAME;
use serde_json::Value as Json;

/// Relative differences up to which values are equal: sums of floats in another order.
const TOLERANCE: f64 = 1e-9;

/// An answer in a form that can be compared: points by time, by series.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Points(BTreeMap<String, BTreeMap<i64, f64>>);

impl Points {
    /// Of a response of the query API; of a list of label values each is a series.
    pub(super) fn read(body: &str) -> anyhow::Result<Self> {
        let json: Json = serde_json::from_str(body)?;
        let data = &json["data"];
        let mut points = Self::default();
        if let Some(values) = data.as_array() {
            points.0.extend(values.iter().map(|value| (value.to_string(), BTreeMap::new())));
        }
        for series in data["result"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let labels = series["metric"].to_string();
            let one = series["value"].as_array().map(|_| &series["value"]).into_iter();
            let many = series["values"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
            let read = |pair: &Json| {
                #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a time")]
                let time_ms = (pair[0].as_f64()? * 1000.0).round() as i64;
                Some((time_ms, pair[1].as_str()?.parse().ok()?))
            };
            points.0.entry(labels).or_default().extend(one.chain(many).filter_map(read));
        }
        Ok(points)
    }

    /// How many series there are.
    pub(super) fn series(&self) -> usize {
        self.0.len()
    }

    /// How many points there are.
    pub(super) fn points(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// How `other` differs from this, in a few words; "equal" if it does not. Where no series is the same, metric
    /// names are left aside: servers differ in which functions drop them.
    pub(super) fn compare(&self, other: &Self) -> String {
        let is_disjoint = self.0.keys().all(|labels| !other.0.contains_key(labels));
        if is_disjoint && !other.0.is_empty() {
            return self.without_names().compare_as_named(&other.without_names());
        }
        self.compare_as_named(other)
    }

    /// The same points under labels without the metric name.
    fn without_names(&self) -> Self {
        let unnamed = |labels: &String| {
            let mut labels: Json = serde_json::from_str(labels).unwrap_or_default();
            if let Some(labels) = labels.as_object_mut() {
                labels.remove(METRIC_NAME);
            }
            labels.to_string()
        };
        Self(self.0.iter().map(|(labels, points)| (unnamed(labels), points.clone())).collect())
    }

    fn compare_as_named(&self, other: &Self) -> String {
        let (mut missing, mut compared, mut furthest) = (0usize, 0usize, 0f64);
        for (labels, points) in &self.0 {
            match other.0.get(labels) {
                None => missing += points.len().max(1),
                Some(others) => {
                    for (time_ms, value) in points {
                        compared += 1;
                        match others.get(time_ms) {
                            None => missing += 1,
                            Some(other) => furthest = furthest.max(apart(*value, *other)),
                        }
                    }
                }
            }
        }
        let extra = (other.points() + missing).saturating_sub(self.points().max(self.series()));
        let values =
            if furthest <= TOLERANCE { "equal".to_owned() } else { format!("up to {:.2} % apart", furthest * 100.0) };
        match (missing, extra) {
            (0, 0) => values,
            _ if compared == 0 => format!("nothing in common: {missing} missing"),
            _ => format!("{missing} points missing, {extra} more, others {values}"),
        }
    }
}

/// The difference of two values relative to the larger; NaN equals NaN.
fn apart(a: f64, b: f64) -> f64 {
    if a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b) == 0.0 {
        return 0.0;
    }
    let difference = (a - b).abs() / a.abs().max(b.abs());
    if difference.is_nan() { f64::INFINITY } else { difference }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(result: &str) -> Points {
        Points::read(&format!("{{\"status\":\"success\",\"data\":{{\"result\":{result}}}}}")).expect("JSON")
    }

    #[test]
    fn answers_are_compared_by_series_and_time() {
        let one = points(r#"[{"metric":{"a":"b"},"values":[[1,"1"],[2.5,"NaN"]]}]"#);
        assert_eq!((one.series(), one.points()), (1, 2));
        assert_eq!(one.compare(&one), "equal");
        let close = points(r#"[{"metric":{"a":"b"},"values":[[1,"1.0000000000001"],[2.5,"NaN"]]}]"#);
        assert_eq!(one.compare(&close), "equal");
        let far = points(r#"[{"metric":{"a":"b"},"values":[[1,"1.25"],[2.5,"NaN"]]}]"#);
        assert_eq!(one.compare(&far), "up to 20.00 % apart");
        let shorter = points(r#"[{"metric":{"a":"b"},"value":[1,"1"]}]"#);
        assert_eq!(one.compare(&shorter), "1 points missing, 0 more, others equal");
        assert_eq!(shorter.compare(&one), "0 points missing, 1 more, others equal");
        let named = points(r#"[{"metric":{"__name__":"x","a":"b"},"values":[[1,"1"],[2.5,"NaN"]]}]"#);
        assert_eq!(one.compare(&named), "equal");
        assert_eq!(one.compare(&points("[]")), "nothing in common: 1 missing".replace('1', "2"));
        let labels = |values: &str| Points::read(&format!("{{\"data\":{values}}}")).expect("JSON");
        assert_eq!(labels(r#"["x","y"]"#).compare(&labels(r#"["x","y"]"#)), "equal");
        assert_ne!(labels(r#"["x","y"]"#).compare(&labels(r#"["x"]"#)), "equal");
    }
}
