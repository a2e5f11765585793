//! `metrickit rules backtest`: when alerts of a rule file would have fired over the history that a server has.
//!
//! The evaluator is the server's. Each expression is asked for whole stretches of time at once, and each evaluation takes its step of the answer,
//! which is what an instant query would have answered then. Nothing is written: what rules of the file record is seen by
//! others only as far as the server has it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use model::time::ShowDuration;
use model::{Clock as _, Labels, SampleValue, SystemClock};
use query::VectorElement;
use query::ast::Expr;
use rules::alert::State;
use rules::evaluate::kept::Kept;
use rules::evaluate::{Evaluation, RuleSample, Settings, World};
use rules::file::{Group, RuleFile};
use serde_json::json;

use crate::UsageError;
use crate::cli::RulesBacktestArgs;
use crate::client::{Client, ClientError, Moment, Value};
use crate::commands::Target;
use crate::commands::admin::counted;
use crate::output::Output;
use crate::render::{append, table};
use crate::when::{parse_instant_ms, parse_step_ms, show_instant, show_rfc3339};

/// The time that is looked at unless `--start` says otherwise.
const RANGE_MS: i64 = 86_400_000;
/// Steps that are asked for at once.
const STEPS_AT_ONCE: i64 = 2_000;
/// Single steps at which an expression may fail; from then on it fails for all steps that were asked for at once.
const FAILURES_MAX: u32 = 100;
/// Most evaluations of a group.
const EVALUATIONS_MAX: i64 = 2_000_000;
const TEMPLATE: &str = "{msg:28!} {wide_bar} {pos}/{len} evaluations {eta}";

/// A time in which an alert would have fired.
#[derive(Debug, Clone, PartialEq)]
struct Fired {
    labels: Labels,
    from_ms: i64,
    /// `None`: it did to the end.
    to_ms: Option<i64>,
    value: f64,
}

/// Evaluates and tells.
pub(crate) fn run(args: &RulesBacktestArgs, output: &mut Output) -> anyhow::Result<bool> {
    let now_ms = SystemClock.now().0;
    let instant = |text: &Option<String>| -> Result<Option<i64>, UsageError> {
        text.as_ref().map(|text| parse_instant_ms(text, now_ms)).transpose().map_err(UsageError)
    };
    let end_ms = instant(&args.end)?.unwrap_or(now_ms);
    let start_ms = instant(&args.start)?.unwrap_or(end_ms.saturating_sub(RANGE_MS));
    if start_ms > end_ms {
        return Err(UsageError("--start lies after --end".to_owned()).into());
    }
    let step_ms = args.step.as_deref().map(parse_step_ms).transpose().map_err(UsageError)?;
    let files = args.files.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<RuleFile>>>()?;
    let target = Target::open(&args.target)?;
    let settings = Settings { interval_ms: 60_000, settling_until_ms: i64::MIN, ..Settings::default() };
    let (mut fired, mut faults) = (Vec::new(), BTreeMap::new());
    for (group, mut state) in groups(&files).zip(Kept::default().into_groups(&files, start_ms).0) {
        let step_ms = step_ms.unwrap_or_else(|| settings.interval_ms(group));
        let steps = (end_ms - start_ms) / step_ms;
        if steps > EVALUATIONS_MAX {
            let message = format!(
                "{steps} evaluations of group {:?}; {EVALUATIONS_MAX} are allowed: use a larger --step",
                group.name
            );
            return Err(UsageError(message).into());
        }
        let bar = ProgressBar::new(steps.unsigned_abs() + 1).with_style(ProgressStyle::with_template(TEMPLATE)?);
        bar.set_message(group.name.clone());
        let world =
            History { client: &target.client, step_ms, end_ms, known: Mutex::default(), gone: Mutex::default() };
        let mut open = BTreeMap::new();
        for at_ms in (0..=steps).map(|step| start_ms + step * step_ms) {
            let made = state.evaluate(group, &world, &settings, at_ms);
            // What nobody answers, nobody will answer a moment later.
            if let Some(error) = world.gone.lock().unwrap_or_else(PoisonError::into_inner).take() {
                bar.finish_and_clear();
                return Err(error.into());
            }
            note(group, &made, at_ms, &mut open, &mut fired);
            for fault in made.faults {
                let rule = fault.rule.and_then(|at| group.rules.get(at)).map_or("", |rule| rule.name.as_str());
                *faults.entry((rule.to_owned(), fault.message)).or_insert(0_u64) += 1;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        fired.extend(open.into_values());
    }
    target.close()?;
    fired.sort_by(|one, other| (one.from_ms, &one.labels).cmp(&(other.from_ms, &other.labels)));
    if args.json {
        output.line(&as_json(&fired, (start_ms, end_ms)).to_string())?;
    } else {
        let width = output.is_terminal.then(|| output.width());
        output.text(&told(&fired, (start_ms, end_ms), width))?;
    }
    for ((rule, message), times) in &faults {
        output.note(&format!("rule {rule}: {message} (at {})", counted(*times, "evaluation")))?;
    }
    Ok(faults.is_empty())
}

fn groups(files: &[RuleFile]) -> impl Iterator<Item = &Group> {
    files.iter().flat_map(|file| &file.groups)
}

pub(super) fn read(path: &Path) -> anyhow::Result<RuleFile> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))?;
    rules::file::read(&name, &text)
        .map_err(|faults| anyhow::anyhow!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

/// Begins and ends what an evaluation says begins and ends.
fn note(
    group: &Group,
    made: &Evaluation,
    at_ms: i64,
    open: &mut BTreeMap<(usize, Labels), Fired>,
    fired: &mut Vec<Fired>,
) {
    for change in &made.transitions {
        let key = (change.rule, change.labels.clone());
        let is_firing = change.after == Some(State::Firing);
        if is_firing && change.before != Some(State::Firing) && change.rule < group.rules.len() {
            let new = Fired { labels: change.labels.clone(), from_ms: at_ms, to_ms: None, value: change.value };
            open.insert(key, new);
        } else if !is_firing && let Some(ended) = open.remove(&key) {
            fired.push(Fired { to_ms: Some(at_ms), ..ended });
        }
    }
}

/// Answers of a server by expression: elements by time, of a stretch of steps.
struct History<'a> {
    client: &'a Client,
    step_ms: i64,
    end_ms: i64,
    known: Mutex<HashMap<String, Stretch>>,
    /// Why no server answers.
    gone: Mutex<Option<ClientError>>,
}

struct Stretch {
    from_ms: i64,
    to_ms: i64,
    elements: Result<HashMap<i64, Vec<VectorElement>>, String>,
    pace: Pace,
}

/// How much of an expression is asked for at once. A query over a range fails whole where it fails at one step, and the others are wanted:
/// so fewer are asked for until the rest is answered or one is left, and then more again.
#[derive(Debug, Clone, Copy)]
struct Pace {
    steps: i64,
    /// Single steps that failed.
    failures: u32,
}

impl Pace {
    /// Asks for so many steps as are answered together, `steps_max` at most; how many that were, and what was said. What `is_over` when it
    /// failed is not asked again.
    fn ask<T>(
        &mut self,
        steps_max: i64,
        mut ask: impl FnMut(i64) -> Result<T, String>,
        is_over: impl Fn() -> bool,
    ) -> (i64, Result<T, String>) {
        let mut steps = self.steps.saturating_mul(2).min(STEPS_AT_ONCE).min(steps_max).max(1);
        loop {
            let answer = ask(steps);
            self.steps = steps;
            if answer.is_ok() || is_over() {
                return (steps, answer);
            }
            if steps == 1 {
                self.failures = self.failures.saturating_add(1);
                return (steps, answer);
            }
            if self.failures >= FAILURES_MAX {
                let told = |why| {
                    format!(
                        "{why}; it failed at {FAILURES_MAX} moments before, so that others are not asked for one by one"
                    )
                };
                return (steps, answer.map_err(told));
            }
            steps /= 2;
        }
    }
}

impl History<'_> {
    /// What `expr` is from `from_ms` on, asked for at `pace`.
    fn ask(&self, expr: &str, from_ms: i64, mut pace: Pace) -> Stretch {
        let end_of = |steps: i64| from_ms.saturating_add(self.step_ms.saturating_mul(steps - 1));
        let steps_max = self.end_ms.saturating_sub(from_ms) / self.step_ms + 1;
        let is_gone = || self.gone.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let (steps, elements) = pace.ask(steps_max, |steps| self.elements(expr, from_ms, end_of(steps)), is_gone);
        Stretch { from_ms, to_ms: end_of(steps), elements, pace }
    }

    fn elements(&self, expr: &str, from_ms: i64, to_ms: i64) -> Result<HashMap<i64, Vec<VectorElement>>, String> {
        let moment = Moment::Range { start_ms: from_ms, end_ms: to_ms.max(from_ms), step_ms: self.step_ms };
        let answer = self.client.query(expr, moment).map_err(|error| {
            let why = error.to_string();
            if matches!(error, ClientError::Unreachable { .. }) {
                *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            why
        })?;
        let Value::Matrix(series) = answer.value else { return Err("the answer is no matrix".to_owned()) };
        let mut elements: HashMap<i64, Vec<VectorElement>> = HashMap::new();
        for one in series {
            let labels = Labels::from_pairs(&one.labels).map_err(|error| error.to_string())?;
            for point in one.points {
                // Of a histogram alerts know no number either.
                let value = if point.histogram().is_some() { 0.0 } else { point.number() };
                let timestamp_ms = point.timestamp_ms;
                let element = VectorElement { labels: labels.clone(), timestamp_ms, value: SampleValue::Float(value) };
                elements.entry(timestamp_ms).or_default().push(element);
            }
        }
        Ok(elements)
    }
}

impl World for History<'_> {
    fn vector(&self, _: &str, expr: &Expr, at_ms: i64) -> Result<Vec<VectorElement>, String> {
        let expr = expr.to_string();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |stretch: &Stretch| {
            (stretch.from_ms..=stretch.to_ms).contains(&at_ms) && (at_ms - stretch.from_ms) % self.step_ms == 0
        };
        if !known.get(&expr).is_some_and(fits) {
            let pace = known.get(&expr).map_or(Pace { steps: STEPS_AT_ONCE, failures: 0 }, |stretch| stretch.pace);
            known.insert(expr.clone(), self.ask(&expr, at_ms, pace));
        }
        let Some(stretch) = known.get(&expr) else { return Ok(Vec::new()) };
        let elements = stretch.elements.as_ref().map_err(Clone::clone)?;
        Ok(elements.get(&at_ms).cloned().unwrap_or_default())
    }

    fn write(&self, _: Vec<RuleSample>) -> Result<(), String> {
        Ok(())
    }
}

fn told(fired: &[Fired], (start_ms, end_ms): (i64, i64), width: Option<usize>) -> String {
    const PATTERN: &str = "%Y-%m-%d %H:%M:%S";
    let mut text = String::new();
    let span = format!("{} to {} UTC", show_instant(start_ms, PATTERN), show_instant(end_ms, PATTERN));
    if fired.is_empty() {
        return format!("no alert would have fired from {span}\n");
    }
    let mut days: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut rows = Vec::new();
    for one in fired {
        let name = one.labels.get("alertname").unwrap_or_default().to_owned();
        let labels = one.labels.iter().filter(|(label, _)| *label != "alertname");
        let labels: Vec<String> = labels.map(|(label, value)| format!("{label}={value}")).collect();
        let end = one.to_ms.map_or_else(|| "still".to_owned(), |to_ms| show_instant(to_ms, PATTERN));
        let lasted = ShowDuration(one.to_ms.unwrap_or(end_ms).saturating_sub(one.from_ms) / 1000 * 1000).to_string();
        rows.push(vec![name.clone(), show_instant(one.from_ms, PATTERN), end, lasted, labels.join(", ")]);
        *days.entry((show_instant(one.from_ms, "%Y-%m-%d"), name)).or_insert(0) += 1;
    }
    append(&mut text, format_args!("would have fired from {span}:\n"));
    text.push_str(&table::aligned(&["alert", "from", "to", "for", "labels"], &rows, 0, width));
    let rows: Vec<Vec<String>> =
        days.into_iter().map(|((day, name), count)| vec![day, name, count.to_string()]).collect();
    text.push_str(&table::aligned(&["day", "alert", "times"], &rows, 1, width));
    text
}

fn as_json(fired: &[Fired], (start_ms, end_ms): (i64, i64)) -> serde_json::Value {
    let one = |one: &Fired| {
        let labels: BTreeMap<&str, &str> = one.labels.iter().collect();
        json!({
            "labels": labels, "from": show_rfc3339(one.from_ms), "to": one.to_ms.map(show_rfc3339),
            "value": one.value.to_string(),
        })
    };
    json!({
        "start": show_rfc3339(start_ms), "end": show_rfc3339(end_ms),
        "fired": fired.iter().map(one).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for `count` steps of which those fail that `fails` says: the steps that were found to fail, and how often was asked.
    fn walked(count: i64, fails: impl Fn(i64) -> bool) -> (Vec<i64>, u32) {
        let (mut pace, mut at, mut failed, mut requests) =
            (Pace { steps: STEPS_AT_ONCE, failures: 0 }, 0, Vec::new(), 0);
        while at < count {
            let ask = |steps: i64| {
                requests += 1;
                if (at..at + steps).any(&fails) { Err("no".to_owned()) } else { Ok(()) }
            };
            let (steps, answer) = pace.ask(count - at, ask, || false);
            if answer.is_err() {
                failed.extend(at..at + steps);
            }
            at += steps;
        }
        (failed, requests)
    }

    #[test]
    fn a_moment_that_fails_costs_no_other() {
        assert_eq!(walked(10_000, |_| false), (vec![], 5));
        let (failed, requests) = walked(10_000, |at| at == 4_321);
        assert_eq!(failed, [4_321]);
        assert!(requests < 100, "{requests} requests");
        assert_eq!(walked(1, |_| true), (vec![0], 1));
        let (failed, _) = walked(500, |at| at % 50 == 7);
        assert_eq!(failed, (0..10).map(|at| at * 50 + 7).collect::<Vec<_>>());
    }

    #[test]
    fn what_always_fails_is_not_asked_for_at_each_moment() {
        let (failed, requests) = walked(100_000, |_| true);
        assert_eq!(failed.len(), 100_000);
        assert!(requests < 1_000, "{requests} requests");
    }

    #[test]
    fn what_is_over_is_asked_once() {
        let (mut pace, mut requests) = (Pace { steps: STEPS_AT_ONCE, failures: 0 }, 0);
        let ask = |_| {
            requests += 1;
            Err::<(), _>("gone".to_owned())
        };
        assert!(pace.ask(9_000, ask, || true).1.is_err());
        assert_eq!(requests, 1);
    }
}
