//! Answers as people and scripts read them: tables, charts, CSV, and errors drawn under the query.
//!
//! Everything here is a function from values to text. `output` writes it.

mod axis;
mod canvas;
pub(crate) mod caret;
pub(crate) mod chart;
pub(crate) mod csv;
pub(crate) mod number;
pub(crate) mod table;

use std::fmt::{self, Write as _};

use crate::client::{Answer, Value};

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
    /// Whether escape sequences for colour may be used.
    pub(crate) color: bool,
    /// Most rows of a table.
    pub(crate) rows_max: usize,
    /// Start and end of the time axis; the samples' own if `None`.
    pub(crate) range_ms: Option<(i64, i64)>,
}

/// Appends formatted text; a string takes everything.
pub(crate) fn append(text: &mut String, arguments: fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

/// Columns of a chart where lines may have any length.
const CHART_WIDTH_DEFAULT: usize = 100;

/// Shows `answer`; the text ends its last line.
pub(crate) fn answer(answer: &Answer, format: Format, layout: &Layout) -> String {
    match (format, &answer.value) {
        (Format::Json, _) => format!("{}\n", answer.body.trim_end()),
        (Format::Csv, value) => csv::write(value),
        (Format::Chart, Value::Matrix(series)) if series.iter().any(|series| series.points.len() > 1) => {
            let width = layout.width.unwrap_or(CHART_WIDTH_DEFAULT);
            chart::draw(series, &chart::Options::new(width, layout.color, layout.range_ms))
        }
        (_, value) => table::write(value, layout),
    }
}
