//! `/federate`: the newest sample of every selected series, in the text format, for another server to scrape.
//!
//! A series counts while its newest sample lies within the lookback, as in an instant query; one that went stale, or
//! whose newest sample is a native histogram, which the text format cannot say, is left out.

use std::io::Write as _;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use model::exposition::TextFormat;
use model::labels::{Quoted, is_label_name, is_metric_name};
use model::sample::is_stale_marker;
use model::{Labels, METRIC_NAME, Matcher, Samples, TimeRange};

use crate::app::App;
use crate::gate::run_blocking;
use crate::json::write_number;
use crate::params::Params;
use crate::reading::{Entered, Reading, enter};
use crate::reply::{ApiError, ErrorKind, WriteData, plain};
use crate::running::Client;

/// The label that a scraping server adds of itself unless it is there, if only empty.
const INSTANCE: &str = "instance";
/// What a row takes in memory beside the text of its labels.
const ROW_BYTES: usize = size_of::<Row>();

pub(crate) async fn federate(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = Client::of(request.extensions());
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let selectors = params.selectors()?;
    if selectors.is_empty() {
        return Err(ApiError::new(ErrorKind::BadData, "no match[] parameter provided"));
    }
    let now_ms = app.clock.now().0;
    // Open at the left, as for an instant selector.
    let start_ms = now_ms.saturating_sub(app.options.query.lookback_ms).saturating_add(1);
    let range = TimeRange::new(start_ms, now_ms);
    let Entered { place, ticket, left, mut reading } = enter(&app, "federate", client).await?;
    let page = run_blocking(place, left, move || {
        let result = rows(&mut reading, &selectors, range);
        reading.end(&result);
        result
    })
    .await?;
    drop(ticket);
    Ok(plain(TextFormat::Prometheus.content_type(), Page { rows: page.into_iter(), name: String::new() }))
}

/// One line of the page.
#[derive(Debug)]
struct Row {
    labels: Labels,
    timestamp_ms: i64,
    value: f64,
}

impl Row {
    fn name(&self) -> &str {
        self.labels.metric_name()
    }
}

/// The rows of all selectors, each series once, by name and then by labels.
fn rows(reading: &mut Reading, selectors: &[Vec<Matcher>], range: TimeRange) -> Result<Vec<Row>, ApiError> {
    let mut rows: Vec<Row> = Vec::new();
    for matchers in selectors {
        let set = reading.select(matchers, range)?;
        reading.each_series(set.as_ref(), |labels, samples| {
            if let Some((timestamp_ms, value)) = newest(samples)
                && !labels.metric_name().is_empty()
            {
                reading.hold(ROW_BYTES + labels.packed().len())?;
                rows.push(Row { labels: labels.clone(), timestamp_ms, value });
            }
            Ok(())
        })?;
    }
    rows.sort_by(|one, other| one.name().cmp(other.name()).then_with(|| one.labels.cmp(&other.labels)));
    rows.dedup_by(|one, other| one.labels == other.labels);
    Ok(rows)
}

/// The newest sample, if it is a float and no stale marker.
fn newest(samples: &Samples) -> Option<(i64, f64)> {
    let (&timestamp_ms, &value) = (samples.timestamps_ms.last()?, samples.values.last()?);
    let histogram_is_newer = samples.histograms.last().is_some_and(|last| last.timestamp_ms > timestamp_ms);
    (!histogram_is_newer && !is_stale_marker(value)).then_some((timestamp_ms, value))
}

/// The page, written row by row.
struct Page {
    rows: std::vec::IntoIter<Row>,
    /// The metric of the row before.
    name: String,
}

impl WriteData for Page {
    fn write(&mut self, out: &mut Vec<u8>, until_bytes: usize) -> bool {
        while out.len() < until_bytes {
            let Some(row) = self.rows.next() else { return true };
            if row.name() != self.name {
                row.name().clone_into(&mut self.name);
                write_type(out, &self.name);
            }
            write_row(out, &row);
        }
        false
    }
}

fn write_type(out: &mut Vec<u8>, name: &str) {
    if is_metric_name(name) {
        put(out, format_args!("# TYPE {name} untyped\n"));
    } else {
        put(out, format_args!("# TYPE {} untyped\n", Quoted(name)));
    }
}

fn write_row(out: &mut Vec<u8>, row: &Row) {
    let name = row.name();
    if is_metric_name(name) {
        put(out, format_args!("{name}{{"));
    } else {
        put(out, format_args!("{{{},", Quoted(name)));
    }
    let mut has_instance = false;
    let mut separator = "";
    for (label, value) in row.labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
        has_instance |= label == INSTANCE;
        if is_label_name(label) {
            put(out, format_args!("{separator}{label}={}", Quoted(value)));
        } else {
            put(out, format_args!("{separator}{}={}", Quoted(label), Quoted(value)));
        }
        separator = ",";
    }
    if !has_instance {
        put(out, format_args!("{separator}{INSTANCE}=\"\""));
    }
    out.extend_from_slice(b"} ");
    write_number(out, row.value);
    put(out, format_args!(" {}\n", row.timestamp_ms));
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}
