//! What sticks out of a report, and what to do about it: a sentence each, the most useful first.

use model::labels::is_metric_name;

use super::{Label, Limit, Report, series, share};
use crate::render::number::count;

/// Most hints told.
const HINTS_MAX: usize = 4;
/// A limit that is used so far is worth a word.
const LIMIT_USED: f64 = 0.8;
/// A metric with such a part of all series is worth a look.
const METRIC_SHARE: f64 = 0.1;
/// Series that are so few are never too many.
const SERIES_FEW: u64 = 1_000;
/// A label with fewer values is none to blame.
const VALUES_FEW: u64 = 50;
/// A label is to blame if without it so many times fewer series would be left.
const WITHOUT_FACTOR: u64 = 5;
/// New series in such a part of all are worth a word.
const NEW_SHARE: f64 = 0.2;
/// The part of active series below which the others are worth a word.
const ACTIVE_SHARE: f64 = 0.5;
/// Labels that tell whose series it is, or are part of what a metric is.
const NEEDED: [&str; 4] = ["instance", "job", "le", "quantile"];

/// What to do about the series of `selector`.
pub(super) fn hints(report: &Report, selector: Option<&str>) -> Vec<String> {
    let all = [
        costly_label(report, selector),
        near_limit(report),
        large_metric(report, selector),
        many_new(report),
        inactive(report, selector),
    ];
    all.into_iter().flatten().take(HINTS_MAX).collect()
}

fn costly_label(report: &Report, selector: Option<&str>) -> Option<String> {
    let is_costly = |label: &&Label| {
        let without = label.series_without.unwrap_or(u64::MAX);
        label.values >= VALUES_FEW
            && !NEEDED.contains(&label.name.as_str())
            && without.saturating_mul(WITHOUT_FACTOR) <= report.series.selected
    };
    let costly = report.labels.iter().filter(is_costly);
    let Label { name, values, series_without, .. } = costly.min_by_key(|label| label.series_without)?;
    let without = series(series_without.unwrap_or(0));
    let free = match (selector, report.metrics.as_slice()) {
        (Some(_), [metric]) => {
            format!(" Then `metrickit delete '{}'` frees the series at once.", with_label(&metric.name, name))
        }
        _ => String::new(),
    };
    Some(format!(
        "label {name} has {} values: without it there would be about {without} series instead of {}. Have the program leave it \
         out, or write what its values have in common, such as /users/:id for a path.{free}",
        series(*values),
        series(report.series.selected)
    ))
}

/// A selector of the series of `metric` that have the label.
fn with_label(metric: &str, label: &str) -> String {
    if is_metric_name(metric) {
        format!("{metric}{{{label}!=\"\"}}")
    } else {
        format!("{{__name__={}, {label}!=\"\"}}", model::labels::Quoted(metric))
    }
}

fn near_limit(report: &Report) -> Option<String> {
    let used = |of: &Limit| if of.max == 0 { 0.0 } else { count(of.series) / count(of.max) };
    let nearest = report.limits.iter().filter(|of| used(of) >= LIMIT_USED);
    let of = nearest.max_by(|a, b| used(a).total_cmp(&used(b)))?;
    let whose = match of.setting.as_str() {
        "series_per_metric_max" => format!("metric {}", of.of),
        "series_per_agent_max" => format!("agent {}", of.of),
        _ => "the server".to_owned(),
    };
    let what =
        if of.series >= of.max { "samples of new series are refused" } else { "above it, new series are refused" };
    Some(format!("{whose} has {} of the series that {} allows; {what}.", share(of.series, of.max), of.setting))
}

fn large_metric(report: &Report, selector: Option<&str>) -> Option<String> {
    let metric = report.metrics.first().filter(|_| report.metrics.len() > 1)?;
    let is_large = metric.series >= SERIES_FEW && count(metric.series) >= METRIC_SHARE * count(report.series.selected);
    (is_large && selector.is_none()).then(|| {
        let (name, part) = (&metric.name, share(metric.series, report.series.selected));
        let shown =
            if is_metric_name(name) { name.clone() } else { format!("'{{__name__={}}}'", model::labels::Quoted(name)) };
        format!(
            "{name} alone has {part} of all series; `metrickit cardinality {shown}` tells which of its labels it is."
        )
    })
}

fn many_new(report: &Report) -> Option<String> {
    let created = report.series.created;
    // In a young folder everything is new.
    let is_known = report.known_from_ms.is_some_and(|from_ms| from_ms < report.since_ms);
    let many = created >= SERIES_FEW && count(created) >= NEW_SHARE * count(report.series.selected);
    let metric = report.churn.metrics.first().filter(|_| is_known && many)?;
    Some(format!(
        "{} of the series are new, most of them of {}: look for a label that changes with every start or deploy, such as a \
         pod, a version or a commit, and put it on one info metric instead.",
        share(created, report.series.selected),
        metric.name
    ))
}

fn inactive(report: &Report, selector: Option<&str>) -> Option<String> {
    let (all, active) = (report.series.selected, report.series.active);
    let many = all >= SERIES_FEW && count(active) < ACTIVE_SHARE * count(all);
    let of = selector.unwrap_or("SELECTOR");
    many.then(|| {
        let gone = all.saturating_sub(active);
        format!(
            "{} of the series get no samples now. They leave memory by themselves, and the disk when retention ends; sooner by \
             retention_rules for them, or by `metrickit delete '{of}' --end now-1d`.",
            share(gone, all)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Churn, Group, Totals};
    use super::*;

    fn group(name: &str, series: u64, created: u64) -> Group {
        Group { name: name.to_owned(), series, active: series, created }
    }

    fn quiet() -> Report {
        Report {
            since_ms: 10,
            known_from_ms: Some(5),
            series: Totals { all: 9000, selected: 9000, active: 9000, created: 10 },
            metrics: (0..20).map(|at| group(&format!("m{at}"), 450, 0)).collect(),
            ..Report::default()
        }
    }

    #[track_caller]
    fn check(report: &Report, selector: Option<&str>, want: &[&str]) {
        let got = hints(report, selector);
        assert_eq!(got.len(), want.len(), "{got:?}");
        assert!(got.iter().zip(want).all(|(hint, want)| hint.contains(want)), "{want:?} in {got:?}");
    }

    #[test]
    fn only_what_sticks_out_is_told() {
        check(&quiet(), None, &[]);
        let label = |name: &str, values, without| Label {
            name: name.to_owned(),
            values,
            series: 9000,
            value_bytes: 1,
            series_without: without,
        };
        let blamed = Report {
            labels: vec![label("instance", 900, Some(10)), label("path", 400, Some(25)), label("code", 9, Some(1000))],
            ..quiet()
        };
        check(&blamed, None, &["label path has 400 values: without it there would be about 25 series instead of 9k"]);
        let metric = Report { metrics: vec![group("a:b", 9000, 0)], ..blamed };
        check(&metric, Some("a:b"), &["`metrickit delete 'a:b{path!=\"\"}'`"]);
        let foreign = Report { metrics: vec![group("a.b", 9000, 0)], ..metric };
        check(&foreign, Some("x"), &["`metrickit delete '{__name__=\"a.b\", path!=\"\"}'`"]);

        let limit = |limit: &str, max, series| Limit { setting: limit.to_owned(), max, series, of: "web1".to_owned() };
        let near =
            vec![limit("series_max", 0, 9), limit("series_per_agent_max", 10, 8), limit("series_per_metric_max", 9, 9)];
        let near = Report { limits: near, ..quiet() };
        check(
            &near,
            None,
            &["metric web1 has 100.0% of the series that series_per_metric_max allows; samples of new series are"],
        );

        let large = Report { metrics: vec![group("big", 5000, 0), group("up", 4000, 0)], ..quiet() };
        check(&large, None, &["big alone has 55.6% of all series; `metrickit cardinality big`"]);
        check(&large, Some("{a=\"b\"}"), &[]);

        let churn = Churn { metrics: vec![group("pods", 9, 3000)], ..Churn::default() };
        let new = Report { series: Totals { created: 3000, ..quiet().series }, churn, ..quiet() };
        check(&new, None, &["33.3% of the series are new, most of them of pods"]);
        check(&Report { known_from_ms: Some(10), ..new }, None, &[]);

        let old = Report { series: Totals { active: 900, ..quiet().series }, ..quiet() };
        check(&old, Some("up"), &["90.0% of the series get no samples now"]);
    }
}
