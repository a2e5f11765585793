//! What a REPL remembers between lines, and what a line does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use model::time::{Clock, ShowDuration, SystemClock};
use query::ast::ValueType;
use query::functions::{FUNCTIONS, Function, find};

use super::commands::{self, COMMANDS, Command};
use super::completion::label_summary;
use crate::client::{Answer, Client, ClientError, Moment, Value};
use crate::output::Output;
use crate::render::{self, Format, Layout, append, caret, table};
use crate::when::{show_rfc3339, step_for_ms};

/// Most rows of a table.
const ROWS_MAX: usize = 100;
/// Most names listed, and most series looked at for `.labels`.
const NAMES_MAX: usize = 1_000;
/// How often a waiting query looks for Ctrl-C.
const INTERRUPT_POLL: Duration = Duration::from_millis(20);

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
    /// Set by Ctrl-C.
    interrupted: Arc<AtomicBool>,
}

impl Session {
    /// A session that asks `client`, instant and now.
    pub(crate) fn new(client: Client, interrupted: Arc<AtomicBool>) -> Self {
        Self { client, mode: Mode::Instant, time_ms: None, format: Format::Chart, timing: false, interrupted }
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
        if line.is_empty() || (line.starts_with('#') && !line.contains('\n')) {
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

    fn evaluate(&mut self, line: &str, output: &mut Output) -> io::Result<Next> {
        let moment = self.moment();
        let start = Instant::now();
        let Some(result) = self.wait_for(line, moment) else {
            output.note("interrupted")?;
            return Ok(Next::LineAfterError);
        };
        let took = start.elapsed();
        match result {
            Ok(answer) => {
                let layout = layout(output, moment);
                output.text(&render::answer(&answer, self.format, &layout))?;
                notes(&answer, output)?;
                if self.timing {
                    output.note(&format!("{} in {:.1} ms", size(&answer.value), took.as_secs_f64() * 1000.0))?;
                }
                Ok(Next::Line)
            }
            Err(error) => {
                output.note(fault(line, &error).trim_end())?;
                Ok(Next::LineAfterError)
            }
        }
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

    /// The answer; `None` if Ctrl-C came first. The server ends the query when its own timeout passes.
    fn wait_for(&self, query: &str, moment: Moment) -> Option<Result<Answer, ClientError>> {
        self.interrupted.store(false, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        let (client, query) = (self.client.clone(), query.to_owned());
        std::thread::spawn(move || {
            // Nobody waits any more after an interrupt.
            let _ = sender.send(client.query(&query, moment));
        });
        loop {
            match receiver.recv_timeout(INTERRUPT_POLL) {
                Ok(result) => return Some(result),
                Err(mpsc::RecvTimeoutError::Timeout) if self.interrupted.load(Ordering::Relaxed) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn command(&mut self, command: Command, output: &mut Output) -> io::Result<Next> {
        match command {
            Command::Quit => return Ok(Next::Quit),
            Command::Range { range_ms, step_ms } => self.mode = Mode::Range { range_ms, step_ms },
            Command::Instant => self.mode = Mode::Instant,
            Command::Time { time_ms } => self.time_ms = time_ms,
            Command::Format(format) => self.format = format,
            Command::Timing(on) => self.timing = on.unwrap_or(!self.timing),
            Command::Help => output.text(&help())?,
            Command::Functions { name } => return functions(name.as_deref(), output),
            Command::Metrics { prefix } => return self.metrics(&prefix, output),
            Command::Labels { selector } => return self.labels(&selector, output),
        }
        Ok(Next::Line)
    }

    fn metrics(&self, prefix: &str, output: &mut Output) -> io::Result<Next> {
        match self.client.label_values("__name__", None, 0) {
            Ok(names) => {
                let matching: Vec<&String> = names.iter().filter(|name| name.starts_with(prefix)).collect();
                let mut text = lines(matching.iter().take(NAMES_MAX));
                let left = matching.len().saturating_sub(NAMES_MAX);
                if left > 0 {
                    append(&mut text, format_args!("… and {left} more; give a longer prefix\n"));
                } else if matching.is_empty() {
                    text = format!("no metric starts with {prefix:?}; {} are known\n", names.len());
                }
                output.text(&text)?;
                Ok(Next::Line)
            }
            Err(error) => failed(&error, output),
        }
    }

    fn labels(&self, selector: &str, output: &mut Output) -> io::Result<Next> {
        match self.client.series(selector, NAMES_MAX) {
            Ok(series) if series.is_empty() => output.line("no series")?,
            Ok(series) => {
                let rows = label_summary(&series);
                output.text(&table::columns(&["label", "values", "count"], &rows, Some(output.width())))?;
                let bound = if series.len() == NAMES_MAX { "first " } else { "" };
                output.line(&format!("{bound}{} series", series.len()))?;
            }
            Err(error) => {
                output.note(fault(selector, &error).trim_end())?;
                return Ok(Next::LineAfterError);
            }
        }
        Ok(Next::Line)
    }
}

/// The layout for a REPL or a terminal: as wide as the window, rows limited.
pub(crate) fn layout(output: &Output, moment: Moment) -> Layout {
    let range_ms = match moment {
        Moment::Instant { .. } => None,
        Moment::Range { start_ms, end_ms, .. } => Some((start_ms, end_ms)),
    };
    Layout { width: output.is_terminal.then(|| output.width()), color: output.color, rows_max: ROWS_MAX, range_ms }
}

/// Tells warnings and infos on standard error.
pub(crate) fn notes(answer: &Answer, output: &mut Output) -> io::Result<()> {
    answer.warnings.iter().try_for_each(|text| output.note(&format!("warning: {text}")))?;
    answer.infos.iter().try_for_each(|text| output.note(&format!("info: {text}")))
}

/// An error as text: under the query if it is about the query.
pub(crate) fn fault(query: &str, error: &ClientError) -> String {
    match error {
        ClientError::Refused { message, .. } => caret::draw(query, message),
        other => format!("error: {other}\n"),
    }
}

fn failed(error: &ClientError, output: &mut Output) -> io::Result<Next> {
    output.note(&format!("error: {error}"))?;
    Ok(Next::LineAfterError)
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

/// Each text on a line of its own.
fn lines(texts: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let mut all = String::new();
    texts.for_each(|text| append(&mut all, format_args!("{text}\n")));
    all
}

fn help() -> String {
    let width = COMMANDS.iter().map(|command| command.usage.chars().count()).max().unwrap_or(0);
    let rows = COMMANDS.iter().map(|command| format!("  {:<width$}  {}", command.usage, command.help));
    format!("Type a query and Enter; Tab completes; open brackets continue on the next line.\n{}", lines(rows))
}

fn functions(name: Option<&str>, output: &mut Output) -> io::Result<Next> {
    match name.map(|name| (name, find(name))) {
        None => {
            let width = FUNCTIONS.iter().map(|function| function.name.len()).max().unwrap_or(0);
            let rows = FUNCTIONS.iter().map(|function| format!("  {:<width$}  {}", function.name, function.help));
            output.text(&lines(rows))?;
        }
        Some((_, Some(function))) => output.line(&format!("{}\n  {}", signature(function), function.help))?,
        Some((name, None)) => {
            output.note(&format!("there is no function {name}; .functions lists all"))?;
            return Ok(Next::LineAfterError);
        }
    }
    Ok(Next::Line)
}

/// `rate(range-vector) → instant-vector`, optional arguments in brackets.
fn signature(function: &Function) -> String {
    let name = |kind: &ValueType| match kind {
        ValueType::Scalar => "scalar",
        ValueType::InstantVector => "instant-vector",
        ValueType::RangeVector => "range-vector",
        ValueType::String => "string",
    };
    let needed = function.args.len().saturating_sub(function.optional);
    let arg =
        |(at, kind): (usize, &ValueType)| if at < needed { name(kind).to_owned() } else { format!("[{}]", name(kind)) };
    let mut args: Vec<String> = function.args.iter().enumerate().map(arg).collect();
    if function.variadic > 0 {
        args.push("…".to_owned());
    }
    format!("{}({}) → {}", function.name, args.join(", "), name(&function.returns))
}
