//! Answers as people and scripts read them: tables, charts, CSV, plans, and errors drawn under the query.
//!
//! Everything here is a function from values to text. `output` writes it.

mod axis;
mod bars;
mod canvas;
pub(crate) mod caret;
mod chart;
mod csv;
mod heatmap;
pub(crate) mod number;
pub(crate) mod plan;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod unit;

use std::fmt::{self, Write as _};

use crate::client::answer::{Point, Series};
use crate::client::{Answer, Value};
use unit::Unit;

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, a row for each series or sample.
    Table,
    /// Lines over time, in the terminal; instant vectors as a table.
    Chart,
    /// The response as the server sent it.
    Json,
    /// A header, then a row for each sample.
    Csv,
}

/// What the layout may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Columns of the terminal; `None` where lines may have any length, such as in a pipe.
    pub(crate) width: Option<usize>,
    /// Rows of the terminal, if there is one.
    pub(crate) height: Option<usize>,
    /// Whether escape sequences for colour may be used.
    pub(crate) color: bool,
    /// Most rows of a table.
    pub(crate) rows_max: usize,
    /// What the query says its result counts; names of series say it better.
    pub(crate) unit: Unit,
    /// What observations in histograms of the result count.
    pub(crate) observed: Unit,
    /// The time axis; the samples' own if `None`.
    pub(crate) axes: Option<Axes>,
}

/// The steps of a range query.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "names carry units")]
pub(crate) struct Axes {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
}

impl Layout {
    /// Columns of a chart with everything around it.
    fn chart_columns(&self) -> usize {
        self.width.unwrap_or(CHART_COLUMNS_DEFAULT)
    }

    /// Rows of a plot: half of the terminal within bounds, so that axes, legend and the next prompt fit too.
    fn chart_rows(&self) -> usize {
        self.height.map_or(CHART_ROWS_DEFAULT, |height| (height / 2).clamp(CHART_ROWS_MIN, CHART_ROWS_MAX))
    }
}

/// Appends formatted text; a string takes everything.
pub(crate) fn append(text: &mut String, arguments: fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

/// Columns of a chart where lines may have any length.
const CHART_COLUMNS_DEFAULT: usize = 100;
/// Rows of a plot where there is no terminal.
const CHART_ROWS_DEFAULT: usize = 12;
/// Fewest rows of a plot.
const CHART_ROWS_MIN: usize = 8;
/// Most rows of a plot.
const CHART_ROWS_MAX: usize = 20;
/// Most histograms drawn; more are a table.
const DRAWN_HISTOGRAMS_MAX: usize = 3;

/// Shows `answer`; the text ends its last line.
pub(crate) fn answer(answer: &Answer, format: Format, layout: &Layout) -> String {
    match (format, &answer.value) {
        (Format::Json, _) => format!("{}\n", answer.body.trim_end()),
        (Format::Csv, value) => csv::write(value),
        (Format::Chart, Value::Matrix(series)) if series.iter().any(|series| series.points.len() > 1) => {
            over_time(series, layout)
        }
        (Format::Chart, Value::Vector(series)) if has_histograms(series) => at_once(series, layout),
        (_, value) => table::write(value, layout),
    }
}

fn has_histograms(series: &[Series]) -> bool {
    series.iter().any(|series| series.points.iter().any(|point| point.histogram().is_some()))
}

/// Numbers as lines of one chart, each series of histograms as a heat map.
fn over_time(series: &[Series], layout: &Layout) -> String {
    let (with, without): (Vec<&Series>, Vec<&Series>) =
        series.iter().partition(|series| has_histograms(std::slice::from_ref(series)));
    // A series may change from numbers to histograms; what is drawn of it then are its histograms.
    let mut text = if without.is_empty() { String::new() } else { chart::draw(&without, layout) };
    for series in with.iter().take(DRAWN_HISTOGRAMS_MAX) {
        text.push_str(&heatmap::draw(series, layout));
    }
    let left = with.len().saturating_sub(DRAWN_HISTOGRAMS_MAX);
    if left > 0 {
        append(&mut text, format_args!("… and {left} more series of histograms; sum(…) joins them\n"));
    }
    text
}

/// Numbers as a table, each histogram as bars; many histograms as a table too.
fn at_once(series: &[Series], layout: &Layout) -> String {
    let (with, without): (Vec<Series>, Vec<Series>) =
        series.iter().cloned().partition(|series| has_histograms(std::slice::from_ref(series)));
    if with.len() > DRAWN_HISTOGRAMS_MAX {
        return table::write(&Value::Vector(series.to_vec()), layout);
    }
    let mut text = String::new();
    if !without.is_empty() {
        text = table::write(&Value::Vector(without), layout);
    }
    for series in &with {
        for histogram in series.points.iter().filter_map(Point::histogram) {
            text.push_str(&bars::draw(series, histogram, layout));
        }
    }
    text
}
