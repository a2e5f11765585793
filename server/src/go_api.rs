//! `/api/v1/go/leaks`: which Go processes leak goroutines, where, and by what evidence.
//!
//! Agents judge and write series, `go_leak_…`; here those of one moment become records. Nothing else is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use model::labels::{METRIC_NAME, Quoted};
use model::{Labels, SampleValue};
use query::{CancelToken, QueryTime, Value, VectorElement};
use serde_json::{Map, Value as Json, json};

use crate::app::App;
use crate::params::Params;
use crate::query_api::query_error;
use crate::reply::{ApiError, success};
use crate::series_api::reading;

/// Records told, unless asked for.
const LIMIT_DEFAULT: usize = 1_000;
/// Most records told.
const LIMIT_MAX: usize = 100_000;
/// The grade from which on leaks are told, unless asked for: probable.
const GRADE_DEFAULT: i64 = 2;

/// The series that tell of sites, and the fields they become.
const FIELDS: [(&str, &str); 7] = [
    ("go_leak_site_grade", "grade"),
    ("go_leak_site_goroutines", "goroutines"),
    ("go_leak_site_floor", "floor"),
    ("go_leak_site_growth_per_hour", "growthPerHour"),
    ("go_leak_site_since_seconds", "sinceSeconds"),
    ("go_leak_site_longest_blocked_seconds", "longestBlockedSeconds"),
    ("go_leak_site_leaked_goroutines", "leakedGoroutines"),
];
/// The series whose labels tell where a leak is.
const INFO: &str = "go_leak_info";
/// The series with the grade of each process.
const PROCESS: &str = "go_leak_grade";

/// Labels that only the info series has, and the fields they become.
const PLACES: [(&str, &str); 8] = [
    ("file", "file"),
    ("line", "line"),
    ("blocked_in", "blockedIn"),
    ("blocked_at", "blockedAt"),
    ("way", "way"),
    ("go_version", "goVersion"),
    ("version", "version"),
    ("revision", "revision"),
];

/// What is known of one site.
#[derive(Debug, Default)]
struct Site {
    grade: f64,
    growth: f64,
    fields: Map<String, Json>,
}

/// What is told: the processes with their grades, and the sites.
#[derive(Debug, Default)]
struct Report {
    processes: Vec<(f64, Labels)>,
    sites: Vec<(Labels, Site)>,
}

/// Leaks of grade `min_grade` and above, of all processes or those of one `job` and `instance`.
pub(crate) async fn leaks(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let grade_min = grade(&params)?;
    let limit = match params.limit("limit")? {
        usize::MAX => LIMIT_DEFAULT,
        limit if limit <= LIMIT_MAX => limit,
        _ => return Err(ApiError::parameter("limit", format!("it must not exceed {LIMIT_MAX}"))),
    };
    let time_ms = params.time_ms("time")?.unwrap_or_else(|| app.clock.now().0);
    let selector = selector(&params);
    reading(app, move |app, notes| {
        let elements = evaluate(app, &selector, time_ms)?;
        let mut report = Report::of(elements, grade_min);
        let cut = report.sites.len().max(report.processes.len()) > limit;
        report.sites.truncate(limit);
        report.processes.truncate(limit);
        Ok(success(report.told(time_ms).to_string().into_bytes(), &notes.truncated(cut)))
    })
    .await
}

fn grade(params: &Params) -> Result<i64, ApiError> {
    let Some(text) = params.first("min_grade") else { return Ok(GRADE_DEFAULT) };
    let grade = text.parse().ok().filter(|grade| (-1..=4).contains(grade));
    grade.ok_or_else(|| ApiError::parameter("min_grade", format!("{text:?} is no grade; write 0 to 4, or -1 for all")))
}

/// All series that tell of leaks, in one query.
fn selector(params: &Params) -> String {
    let names = FIELDS.iter().map(|(name, _)| *name).chain([INFO, PROCESS]).collect::<Vec<_>>().join("|");
    let matchers = ["job", "instance"].iter().filter_map(|label| {
        let value = params.first(label)?;
        Some(format!(", {label}={}", Quoted(value)))
    });
    format!("{{__name__=~\"{names}\"{}}}", matchers.collect::<String>())
}

fn evaluate(app: &App, selector: &str, time_ms: i64) -> Result<Vec<VectorElement>, ApiError> {
    let request = query::Request {
        query: selector,
        time: QueryTime::Instant { time_ms },
        options: &app.options.query,
        lookback_ms: None,
        timeout_ms: None,
        cancel: &CancelToken::default(),
        explain: false,
    };
    let answer = query::evaluate(app.source.as_ref(), &request).map_err(|error| query_error(&error))?;
    match answer.value {
        Value::Vector(elements) => Ok(elements),
        _ => Ok(Vec::new()),
    }
}

impl Report {
    fn of(elements: Vec<VectorElement>, grade_min: i64) -> Self {
        let mut report = Self::default();
        let mut sites: BTreeMap<Labels, Site> = BTreeMap::new();
        for element in elements {
            let SampleValue::Float(value) = element.value else { continue };
            let name = element.labels.as_ref().get(METRIC_NAME).unwrap_or_default().to_owned();
            if name == PROCESS {
                report.processes.push((value, without(&element.labels, |label| label == METRIC_NAME)));
                continue;
            }
            let place = |label: &str| PLACES.iter().any(|(of, _)| *of == label);
            let is_info = name == INFO;
            let key = without(&element.labels, |label| label == METRIC_NAME || (is_info && place(label)));
            let site = sites.entry(key).or_default();
            if is_info {
                for (label, field) in PLACES {
                    let text = element.labels.as_ref().get(label).unwrap_or_default();
                    site.fields.insert(field.to_owned(), text.into());
                }
            } else if let Some((_, field)) = FIELDS.iter().find(|(of, _)| *of == name) {
                match *field {
                    "grade" => site.grade = value,
                    "growthPerHour" => site.growth = value,
                    _ => {}
                }
                site.fields.insert((*field).to_owned(), json!(value));
            }
        }
        let least = f64::from(i32::try_from(grade_min).unwrap_or_default());
        report.processes.retain(|(grade, _)| *grade >= least);
        report.processes.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        // Where the grade is missing, the series of a site have just ended.
        let told = |(_, site): &(Labels, Site)| site.fields.contains_key("grade") && site.grade >= least;
        report.sites = sites.into_iter().filter(told).collect();
        let key = |site: &Site| (site.grade, site.growth);
        report.sites.sort_by(|(_, a), (_, b)| {
            let ((a, a_growth), (b, b_growth)) = (key(a), key(b));
            b.total_cmp(&a).then(b_growth.total_cmp(&a_growth))
        });
        report
    }

    fn told(self, time_ms: i64) -> Json {
        let process = |(grade, labels): (f64, Labels)| json!({ "labels": labels_json(&labels), "grade": grade });
        let site = |(labels, site): (Labels, Site)| {
            let mut fields = site.fields;
            fields.insert("labels".to_owned(), labels_json(&labels));
            Json::Object(fields)
        };
        json!({
            "timeMs": time_ms,
            "processes": self.processes.into_iter().map(process).collect::<Vec<_>>(),
            "leaks": self.sites.into_iter().map(site).collect::<Vec<_>>(),
        })
    }
}

/// `labels` but those that are `left_out`.
fn without(labels: &Labels, left_out: impl Fn(&str) -> bool) -> Labels {
    let kept = labels.as_ref().iter().filter(|(label, _)| !left_out(label));
    Labels::from_pairs(kept).unwrap_or_default()
}

fn labels_json(labels: &Labels) -> Json {
    labels.as_ref().iter().map(|(label, value)| (label.to_owned(), Json::from(value))).collect::<Map<_, _>>().into()
}
