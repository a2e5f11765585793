//! Runs a script's commands against a store.

use std::sync::Arc;

use model::SeriesSource;

use super::check::{REPEAT_STEP_MS, check_answer, check_error, check_repeated};
use super::parse::{Case, CaseTime, Command, LoadedSeries, parse};
use super::{CaseReport, Report, ScriptError, Store, Unsaid, load};
use crate::{Answer, CancelToken, QueryError, QueryOptions, QueryTime, Request, evaluate};

/// Functions of the bounds of the whole query, for which the range query around an instant is another question.
const OF_THE_QUERY: [&str; 4] = ["start()", "end()", "step()", "range()"];

/// Runs `script` over stores that `open` makes: one to begin with, one after each `clear`. Every instant case is run
/// a second time as a range query around its time.
///
/// # Errors
///
/// When the script cannot be read or its data cannot be stored.
pub fn run(
    script: &str,
    unsaid: Unsaid,
    open: &mut dyn FnMut() -> Result<Box<dyn Store>, String>,
) -> Result<Report, ScriptError> {
    let at_start = |message| ScriptError { line: 0, message };
    let mut stage = Stage::new(open().map_err(at_start)?);
    let mut report = Report::default();
    for command in parse(script, unsaid)? {
        match command {
            Command::Clear => stage = Stage::new(open().map_err(at_start)?),
            Command::Load { line, step_ms, with_native, series } => {
                stage.load(step_ms, with_native, &series).map_err(|message| ScriptError { line, message })?;
            }
            Command::Eval(case) => {
                let entry = |reason| CaseReport { line: case.line, query: case.query.clone(), reason };
                let reader = stage.reader().map_err(|message| ScriptError { line: case.line, message })?;
                match run_case(&*reader, &case) {
                    Ok(()) => report.passed += 1,
                    Err(reason) => report.failed.push(entry(reason)),
                }
            }
        }
    }
    Ok(report)
}

/// The data between two `clear`s.
#[derive(Debug)]
struct Stage {
    store: Box<dyn Store>,
    reader: Option<Arc<dyn SeriesSource>>,
}

impl Stage {
    fn new(store: Box<dyn Store>) -> Self {
        Self { store, reader: None }
    }

    fn load(&mut self, step_ms: i64, with_native: bool, series: &[LoadedSeries]) -> Result<(), String> {
        self.reader = None;
        self.store.write(&load::batch(step_ms, with_native, series)?)
    }

    fn reader(&mut self) -> Result<Arc<dyn SeriesSource>, String> {
        if let Some(reader) = &self.reader {
            return Ok(reader.clone());
        }
        let reader = self.store.reader()?;
        self.reader = Some(reader.clone());
        Ok(reader)
    }
}

fn run_case(source: &dyn SeriesSource, case: &Case) -> Result<(), String> {
    let time = match case.time {
        CaseTime::Instant { time_ms } => QueryTime::Instant { time_ms },
        CaseTime::Range { start_ms, end_ms, step_ms } => QueryTime::Range { start_ms, end_ms, step_ms },
    };
    match ask(source, &case.query, time) {
        Ok(answer) => check_answer(case, &answer)?,
        Err(error) => return check_error(case, &error),
    }
    let CaseTime::Instant { time_ms } = case.time else { return Ok(()) };
    let is_other_question = OF_THE_QUERY.iter().any(|text| case.query.contains(text));
    if case.is_ordered || case.string.is_some() || case.range_vector.is_some() || is_other_question {
        return Ok(());
    }
    let around = QueryTime::Range {
        start_ms: time_ms.saturating_sub(REPEAT_STEP_MS),
        end_ms: time_ms.saturating_add(REPEAT_STEP_MS),
        step_ms: REPEAT_STEP_MS,
    };
    match ask(source, &case.query, around) {
        Ok(answer) => check_repeated(case, time_ms, &answer),
        Err(error) => Err(format!("as a range query: {error}")),
    }
}

fn ask(source: &dyn SeriesSource, query: &str, time: QueryTime) -> Result<Answer, QueryError> {
    let (options, cancel) = (QueryOptions::default(), CancelToken::new());
    evaluate(
        source,
        &Request {
            query,
            time,
            options: &options,
            lookback_ms: None,
            timeout_ms: None,
            cancel: &cancel,
            explain: false,
        },
    )
}
