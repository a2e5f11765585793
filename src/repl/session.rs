//! What a REPL remembers between lines, and what a line does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use model::time::{Clock, ShowDuration, SystemClock};

use super::asking::{fault, interruptible, layout, notes};
use super::commands::{self, Command};
use super::completion::label_summary;
use super::lists::{self, NAMES_MAX};
use crate::client::{Answer, Client, ClientError, Extras, Moment, Value};
use crate::output::Output;
use crate::render::{self, Format, plan, table};
use crate::when::{show_rfc3339, step_for_ms};

/// Most rows of a table.
const ROWS_MAX: usize = 100;

/// What comes after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read the next line.
    Line,
    /// Read the next line; this one failed.
    LineAfterError,
    /// Leave.
    Quit,
}

/// When queries are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Instant,
    Range { range_ms: i64, step_ms: Option<i64> },
}

/// The state of a REPL.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    mode: Mode,
    /// Evaluation time; the server's now if `None`.
    time_ms: Option<i64>,
    format: Format,
    timing: bool,
    stats: bool,
    /// Set by Ctrl-C.
    interrupted: Arc<AtomicBool>,
}

impl Session {
    /// A session that asks `client`, instant and now.
    pub(crate) fn new(client: Client, interrupted: Arc<AtomicBool>) -> Self {
        let format = Format::Chart;
        Self { client, mode: Mode::Instant, time_ms: None, format, timing: false, stats: false, interrupted }
    }

    /// The mode in a few words, for the prompt.
    pub(crate) fn describe(&self) -> String {
        let mode = match self.mode {
            Mode::Instant => String::new(),
            Mode::Range { range_ms, step_ms } => {
                let step_ms = step_ms.unwrap_or_else(|| step_for_ms(range_ms));
                format!("range {} step {}", ShowDuration(range_ms), ShowDuration(step_ms))
            }
        };
        let time = self.time_ms.map(|time_ms| format!("at {}", show_rfc3339(time_ms))).unwrap_or_default();
        [mode, time].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Does what `line` says: a command if it starts with a dot, else a query.
    pub(crate) fn run(&mut self, line: &str, output: &mut Output) -> io::Result<Next> {
        let line = line.trim();
        if line.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Next::Line);
        }
        if line.starts_with('.') && !line[1..].starts_with(|c: char| c.is_ascii_digit()) {
            return match commands::parse(line, SystemClock.now().0) {
                Ok(command) => self.command(command, output),
                Err(message) => {
                    output.note(&message)?;
                    Ok(Next::LineAfterError)
                }
            };
        }
        self.evaluate(line, output)
    }

    fn evaluate(&self, query: &str, output: &mut Output) -> io::Result<Next> {
        let moment = self.moment();
        let Some((answer, took)) = self.ask(query, moment, Extras { plan: false, stats: self.stats }, output)? else {
            return Ok(Next::LineAfterError);
        };
        output.text(&render::answer(&answer, self.format, &layout(query, output, moment, ROWS_MAX)))?;
        notes(query, &answer, output)?;
        if let Some(stats) = &answer.stats {
            output.note(&plan::totals(stats))?;
        }
        if self.timing {
            output.note(&format!("{} in {:.1} ms", size(&answer.value), took.as_secs_f64() * 1000.0))?;
        }
        Ok(Next::Line)
    }

    fn explain(&self, query: &str, output: &mut Output) -> io::Result<Next> {
        let Some((answer, _)) = self.ask(query, self.moment(), Extras { plan: true, stats: true }, output)? else {
            return Ok(Next::LineAfterError);
        };
        let Some(found) = &answer.plan else {
            output.note(plan::MISSING)?;
            return Ok(Next::LineAfterError);
        };
        output.text(&plan::draw(query, found, output.width(), output.color))?;
        if let Some(stats) = &answer.stats {
            output.line(&plan::totals(stats))?;
        }
        notes(query, &answer, output)?;
        Ok(Next::Line)
    }

    fn moment(&self) -> Moment {
        match self.mode {
            Mode::Instant => Moment::Instant { time_ms: self.time_ms },
            Mode::Range { range_ms, step_ms } => {
                let end_ms = self.time_ms.unwrap_or_else(|| SystemClock.now().0);
                let step_ms = step_ms.unwrap_or_else(|| step_for_ms(range_ms));
                Moment::Range { start_ms: end_ms.saturating_sub(range_ms), end_ms, step_ms }
            }
        }
    }

    /// The answer and how long it took; what went wrong has been told if there is none.
    fn ask(
        &self,
        query: &str,
        moment: Moment,
        extras: Extras,
        output: &mut Output,
    ) -> io::Result<Option<(Answer, Duration)>> {
        let start = Instant::now();
        let owned = query.to_owned();
        let work = move |client: &Client| client.query_with(&owned, moment, extras);
        let answer = self.wait(query, work, output)?;
        Ok(answer.map(|answer| (answer, start.elapsed())))
    }

    /// What `work` brings; what went wrong has been told if there is nothing. Errors are drawn under `query`.
    fn wait<T: Send + 'static>(
        &self,
        query: &str,
        work: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
        output: &mut Output,
    ) -> io::Result<Option<T>> {
        match interruptible(&self.client, &self.interrupted, work) {
            Some(Ok(value)) => return Ok(Some(value)),
            Some(Err(error)) => fault(query, &error, output)?,
            // The terminal has shown ^C on the line before.
            None => output.note("\ncanceled")?,
        }
        Ok(None)
    }

    fn command(&mut self, command: Command, output: &mut Output) -> io::Result<Next> {
        match command {
            Command::Quit => return Ok(Next::Quit),
            Command::Range { range_ms, step_ms } => self.mode = Mode::Range { range_ms, step_ms },
            Command::Instant => self.mode = Mode::Instant,
            Command::Time { time_ms } => self.time_ms = time_ms,
            Command::Format(format) => self.format = format,
            Command::Timing(on) => {
                self.timing = on.unwrap_or(!self.timing);
                output.line(if self.timing { "timing is on" } else { "timing is off" })?;
            }
            Command::Stats(on) => {
                self.stats = on.unwrap_or(!self.stats);
                output.line(if self.stats { "stats are on" } else { "stats are off" })?;
            }
            Command::Help { word: None } => output.text(&lists::help(output.width()))?,
            Command::Help { word: Some(word) } => match lists::help_on(&word, output.width()) {
                Ok(text) => output.line(&text)?,
                Err(message) => {
                    output.note(&message)?;
                    return Ok(Next::LineAfterError);
                }
            },
            Command::Functions => output.text(&lists::functions(output.width()))?,
            Command::Explain { query } => return self.explain(&query, output),
            Command::Metrics { part } => return self.metrics(&part, output),
            Command::Labels { selector } => return self.labels(&selector, output),
            Command::Queries => return self.queries(output),
            Command::Kill { id } => return self.kill(id, output),
        }
        Ok(Next::Line)
    }

    fn metrics(&self, part: &str, output: &mut Output) -> io::Result<Next> {
        let work = |client: &Client| {
            let names = client.label_values("__name__", None, 0)?;
            // Without metadata the names are still a list.
            Ok((names, client.get("/api/v1/metadata", &[]).unwrap_or_default()))
        };
        let Some((names, metadata)) = self.wait("", work, output)? else { return Ok(Next::LineAfterError) };
        output.text(&lists::metrics(&names, part, &metadata, output.width()))?;
        Ok(Next::Line)
    }

    fn labels(&self, selector: &str, output: &mut Output) -> io::Result<Next> {
        let owned = selector.to_owned();
        let work = move |client: &Client| client.series(&owned, NAMES_MAX);
        let Some(series) = self.wait(selector, work, output)? else { return Ok(Next::LineAfterError) };
        if series.is_empty() {
            output.line("no series")?;
            return Ok(Next::Line);
        }
        let rows = label_summary(&series);
        output.text(&table::columns(&["label", "values", "count"], &rows, Some(output.width())))?;
        let bound = if series.len() == NAMES_MAX { "first " } else { "" };
        output.line(&format!("{bound}{} series", series.len()))?;
        Ok(Next::Line)
    }

    fn queries(&self, output: &mut Output) -> io::Result<Next> {
        let Some(queries) = self.wait("", Client::queries, output)? else { return Ok(Next::LineAfterError) };
        output.text(&lists::queries(&queries, output.width()))?;
        Ok(Next::Line)
    }

    fn kill(&self, id: u64, output: &mut Output) -> io::Result<Next> {
        let Some(()) = self.wait("", move |client: &Client| client.kill(id), output)? else {
            return Ok(Next::LineAfterError);
        };
        output.line(&format!("query {id} has been told to end"))?;
        Ok(Next::Line)
    }
}

/// How much came back.
fn size(value: &Value) -> String {
    match value {
        Value::Scalar(_) | Value::String(_) => "1 value".to_owned(),
        Value::Vector(series) => format!("{} series", series.len()),
        Value::Matrix(series) => {
            let samples: usize = series.iter().map(|series| series.points.len()).sum();
            format!("{} series, {samples} samples", series.len())
        }
    }
}
