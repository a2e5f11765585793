//! Runs a script's commands against a store.

use std::sync::Arc;

use model::labels::{BUCKET_LABEL, METRIC_NAME};
use model::{Labels, LabelsBuilder, SeriesSource, WriteBatch};

use super::check::{REPEAT_STEP_MS, check_answer, check_error, check_repeated};
use super::parse::{Case, CaseTime, Command, parse};
use super::points::Point;
use super::{CaseReport, Report, ScriptError, Store};
use crate::ast::{Expr, ExprKind, Selector};
use crate::{Answer, CancelToken, QueryError, QueryOptions, QueryTime, Request, evaluate};

/// Functions of the bounds of the whole query, for which the range query around an instant is another question.
const OF_THE_QUERY: [&str; 4] = ["start()", "end()", "step()", "range()"];

/// Runs `script` over stores that `open` makes: one to begin with, one after each `clear`. Every instant case is run
/// a second time as a range query around its time.
///
/// # Errors
///
/// When the script cannot be read or its data cannot be stored.
pub fn run(script: &str, open: &mut dyn FnMut() -> Result<Box<dyn Store>, String>) -> Result<Report, ScriptError> {
    let at_start = |message| ScriptError { line: 0, message };
    let mut stage = Stage::new(open().map_err(at_start)?);
    let mut report = Report::default();
    for command in parse(script)? {
        match command {
            Command::Clear => stage = Stage::new(open().map_err(at_start)?),
            Command::Load { step_ms, with_native, series } => {
                stage.load(step_ms, with_native, &series).map_err(at_start)?;
            }
            Command::Eval(case) => {
                let entry = |reason| CaseReport { line: case.line, query: case.query.clone(), reason };
                if let Some(reason) = stage.skip_reason(&case) {
                    report.skipped.push(entry(reason));
                    continue;
                }
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
    /// Series that would hold native histograms.
    native: Vec<Labels>,
}

impl Stage {
    fn new(store: Box<dyn Store>) -> Self {
        Self { store, reader: None, native: Vec::new() }
    }

    fn load(&mut self, step_ms: i64, with_native: bool, series: &[(Labels, Vec<Point>)]) -> Result<(), String> {
        self.reader = None;
        let mut batch = WriteBatch::new();
        for (labels, points) in series {
            if points.contains(&Point::Histogram) {
                self.native.push(labels.clone());
            }
            if with_native && let Some(native) = native_name(labels) {
                self.native.push(native);
            }
            batch.push_series(labels.as_ref());
            for (at, point) in points.iter().enumerate() {
                if let Point::Value(value) = point {
                    batch.push_sample(step_ms.saturating_mul(i64::try_from(at).unwrap_or(i64::MAX)), *value);
                }
            }
        }
        self.store.write(&batch)
    }

    fn reader(&mut self) -> Result<Arc<dyn SeriesSource>, String> {
        if let Some(reader) = &self.reader {
            return Ok(reader.clone());
        }
        let reader = self.store.reader()?;
        self.reader = Some(reader.clone());
        Ok(reader)
    }

    /// Why a case cannot be run without native histograms.
    fn skip_reason(&self, case: &Case) -> Option<String> {
        if case.shows_native {
            return Some("expects native histograms".to_owned());
        }
        let expr = crate::parse(&case.query).ok()?;
        let mut reason = None;
        each_selector(&expr, &mut |selector| {
            let is_selected = |labels: &&Labels| {
                selector.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
            };
            if let Some(labels) = self.native.iter().find(is_selected) {
                reason = Some(format!("selects native histograms: {labels}"));
            }
        });
        reason
    }
}

/// The native histogram that `load_with_nhcb` makes of a classic one.
fn native_name(labels: &Labels) -> Option<Labels> {
    let name = labels.metric_name();
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
    let mut builder = LabelsBuilder::from_labels(labels.as_ref());
    builder.set(METRIC_NAME, base);
    builder.remove(BUCKET_LABEL);
    builder.build().ok()
}

fn each_selector(expr: &Expr, visit: &mut dyn FnMut(&Selector)) {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Selector(selector) => visit(selector),
        ExprKind::Range(range) => visit(&range.selector),
        ExprKind::Subquery(subquery) => each_selector(&subquery.expr, visit),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => each_selector(inner, visit),
        ExprKind::Binary(binary) => {
            each_selector(&binary.left, visit);
            each_selector(&binary.right, visit);
        }
        ExprKind::Call(call) => call.args.iter().for_each(|arg| each_selector(arg, visit)),
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.iter().chain([&aggregate.expr]).for_each(|part| each_selector(part, visit));
        }
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
    evaluate(source, &Request { query, time, options: &options, lookback_ms: None, timeout_ms: None, cancel: &cancel })
}
