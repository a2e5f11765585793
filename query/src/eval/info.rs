//! `info`: labels of info series such as `target_info` added to the series of a vector that share their `instance`
//! and `job`.

use std::collections::HashMap;

use model::labels::METRIC_NAME;
use model::{Labels, LabelsBuilder, MatchOp, Matcher};

use super::column::{Column, Gathered, Head, Sink};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, unparen};
use super::grid::{Grid, Shift};
use super::guard::Guard;
use super::names::{ShowLabels, build};
use super::select::Wanted;
use crate::ast::{Expr, ExprKind, Modifiers};

/// The labels that tie an info series to the others.
const IDENTITY: [&str; 2] = ["instance", "job"];
/// The info metric when none is named.
const DEFAULT_METRIC: &str = "target_info";

/// Which info series are wanted and what of them.
#[derive(Debug)]
struct Wish {
    /// On the metric name.
    names: Vec<Matcher>,
    /// On the labels to copy; without any, all labels are.
    labels: Vec<Matcher>,
}

/// An info series: its labels and the times of its samples over the grid.
#[derive(Debug)]
struct InfoSeries {
    labels: Labels,
    times: Column,
}

impl Wish {
    fn new(selector: Option<&Expr>) -> Result<Self> {
        let matchers = match selector.map(|expr| &unparen(expr).kind) {
            None => &[][..],
            Some(ExprKind::Selector(selector)) => &selector.matchers,
            Some(_) => return Err(execution("the second argument of info() is matchers in braces")),
        };
        let (mut names, labels): (Vec<Matcher>, Vec<Matcher>) =
            matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, DEFAULT_METRIC));
        } else if names.iter().all(Matcher::is_negative) {
            let all = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info");
            names.push(all.map_err(|error| execution(error.to_string()))?);
        }
        Ok(Self { names, labels })
    }

    fn is_info(&self, labels: &Labels) -> bool {
        self.names.iter().all(|matcher| matcher.matches(labels.metric_name()))
    }

    fn copies(&self, name: &str) -> bool {
        name != METRIC_NAME
            && !IDENTITY.contains(&name)
            && (self.labels.is_empty() || self.labels.iter().any(|matcher| matcher.name() == name))
    }
}

impl Evaluator<'_> {
    pub(crate) fn info(&self, vector: &Expr, selector: Option<&Expr>, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let wish = Wish::new(selector)?;
        let mut held = self.guard.hold(0)?;
        let mut infos: HashMap<Labels, Vec<InfoSeries>> = HashMap::new();
        let shift = first_modifiers(vector).map_or(Ok(Shift::default()), |modifiers| self.shift(modifiers))?;
        let matchers: Vec<Matcher> = wish.names.iter().chain(&wish.labels).cloned().collect();
        self.selected(&matchers, shift, Wanted::Time, grid, &mut |head, column| {
            held.grow_series::<f64>(grid.len, head.labels.packed().len())?;
            let info = InfoSeries { labels: head.labels, times: std::mem::take(column) };
            let identity = identity(&info.labels)?;
            // Without identity it tells of nothing in particular.
            if !identity.is_empty() {
                infos.entry(identity).or_default().push(info);
            }
            Ok(())
        })?;
        self.selected(&matchers, shift, Wanted::Value, grid, &mut |_, column| {
            self.guard.spend(grid.len)?;
            if column.has_histograms() { Err(execution("info sample should be float")) } else { Ok(()) }
        })?;
        let mut result = Gathered::new(&self.guard)?;
        self.vector(vector, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            let candidates = if wish.is_info(&head.labels) { None } else { Some(infos.get(&identity(&head.labels)?)) };
            match candidates {
                None => result.add(head, column),
                Some(None) if wish.labels.iter().all(Matcher::matches_empty) => result.add(head, column),
                Some(None) => Ok(()),
                Some(Some(candidates)) => enrich(&self.guard, &wish, &head, column, candidates, &mut result),
            }
        })?;
        result.emit(sink)
    }
}

/// Adds `column` to the result under the labels that the info series of each step give it.
fn enrich(
    guard: &Guard<'_>,
    wish: &Wish,
    head: &Head,
    column: &Column,
    candidates: &[InfoSeries],
    result: &mut Gathered<'_>,
) -> Result<()> {
    let (mut winners, mut run) = (Vec::new(), Vec::new());
    let mut pending = Column::absent(column.len());
    let flush = |winners: &[usize], pending: &mut Column, result: &mut Gathered<'_>| {
        let len = pending.len();
        if !pending.is_empty() {
            if let Some(labels) = enriched_labels(wish, &head.labels, candidates, winners)? {
                result.add(Head { labels, drop_name: head.drop_name }, pending)?;
            }
            pending.reset(len);
        }
        Ok::<(), super::QueryError>(())
    };
    for step in 0..column.len() {
        let Some(value) = column.point(step) else { continue };
        pick_winners(guard, candidates, step, &mut winners)?;
        if winners != run {
            flush(&run, &mut pending, result)?;
            run.clone_from(&winners);
        }
        pending.set(step, Some(value));
    }
    flush(&run, &mut pending, result)
}

/// The info series that speak at a step: of each metric the one with the newest sample.
fn pick_winners(guard: &Guard<'_>, candidates: &[InfoSeries], step: usize, winners: &mut Vec<usize>) -> Result<()> {
    winners.clear();
    for (at, info) in candidates.iter().enumerate() {
        guard.spend(winners.len())?;
        let Some(time) = info.times.get(step) else { continue };
        let rival =
            winners.iter().position(|&w: &usize| candidates[w].labels.metric_name() == info.labels.metric_name());
        match rival.map(|rival| (rival, candidates[winners[rival]].times.get(step).unwrap_or(f64::NEG_INFINITY))) {
            None => winners.push(at),
            Some((rival, other)) if other < time => winners[rival] = at,
            Some((_, other)) if other > time => {}
            Some((rival, _)) => {
                return Err(execution(format!(
                    "found duplicate series for info metric: {}, {}",
                    ShowLabels(&candidates[winners[rival]].labels),
                    ShowLabels(&info.labels)
                )));
            }
        }
    }
    Ok(())
}

/// The labels of a series with those of its info series; nothing if it is not wanted without them.
fn enriched_labels(
    wish: &Wish,
    labels: &Labels,
    candidates: &[InfoSeries],
    winners: &[usize],
) -> Result<Option<Labels>> {
    let mut added: Vec<(&str, &str)> = Vec::new();
    for &winner in winners {
        for (name, value) in &candidates[winner].labels {
            if !wish.copies(name) || labels.get(name).is_some() {
                continue;
            }
            match added.iter().find(|(known, _)| *known == name) {
                None => added.push((name, value)),
                Some((_, known)) if *known == value => {}
                Some(_) => return Err(execution(format!("conflicting label: {name}"))),
            }
        }
    }
    if winners.is_empty() && !wish.labels.iter().all(Matcher::matches_empty) {
        return Ok(None);
    }
    let mut builder = LabelsBuilder::from_labels(labels.as_ref());
    for (name, value) in added {
        builder.push(name, value);
    }
    build(&mut builder).map(Some)
}

fn identity(labels: &Labels) -> Result<Labels> {
    let mut builder = LabelsBuilder::new();
    for name in IDENTITY {
        builder.push(name, labels.get(name).unwrap_or(""));
    }
    build(&mut builder)
}

/// The modifiers of the first selector in an expression.
fn first_modifiers(expr: &Expr) -> Option<&Modifiers> {
    match &expr.kind {
        ExprKind::Selector(selector) => Some(&selector.modifiers),
        ExprKind::Range(range) => Some(&range.selector.modifiers),
        ExprKind::Subquery(subquery) => first_modifiers(&subquery.expr),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => first_modifiers(inner),
        ExprKind::Binary(binary) => first_modifiers(&binary.left).or_else(|| first_modifiers(&binary.right)),
        ExprKind::Aggregate(aggregate) => first_modifiers(&aggregate.expr),
        ExprKind::Call(call) => call.args.iter().find_map(first_modifiers),
        ExprKind::Number(_) | ExprKind::String(_) => None,
    }
}
