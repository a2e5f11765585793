//! Subexpressions that occur more than once in a query are evaluated once.
//!
//! Occurrences are the same if they are written the same and mean the same: what stands around an expression decides the
//! grid it is evaluated on, and which of its selectors tell resets. Where these differ they are evaluated apart. The result of the first is kept until
//! the last had it, as long as there is memory for it: what does not fit in a quarter of the query's memory, all kept
//! results together, is computed again. An annotation stands for the last occurrence, as any does.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::column::{Column, Head, Sink};
use super::error::Result;
use super::evaluator::{Evaluator, unparen, widened};
use super::grid::Grid;
use super::guard::Held;
use super::invariant::is_invariant;
use super::told::ToldLists;
use crate::ast::{Call, Expr, ExprKind, Selector, ValueType};
use crate::functions::FunctionId;
use crate::value_type;

/// The part of a query's memory that kept results may take: one in so many.
const MEMORY_PART: usize = 4;

/// What is known of the query's repeated subexpressions.
#[derive(Debug, Default)]
pub(crate) struct Shared<'q> {
    /// The addresses of the repeated ones.
    repeated: HashSet<usize>,
    repeats: RefCell<HashMap<Meaning<'q>, Repeat<'q>>>,
}

/// What expressions that yield the same on the same grid have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Meaning<'q> {
    text: &'q str,
    /// Of each selector in it.
    tells_resets: Vec<bool>,
}

impl<'q> Meaning<'q> {
    fn of(expr: &Expr, query: &'q str) -> Self {
        let mut tells_resets = Vec::new();
        each_selector(expr, &mut |selector| tells_resets.push(selector.tells_resets));
        Self { text: query.get(expr.span.start..expr.span.end).unwrap_or_default(), tells_resets }
    }
}

/// A subexpression that occurs more than once.
#[derive(Debug, Default)]
struct Repeat<'q> {
    /// Evaluations to come, those not counted that are within another repeated one.
    left: usize,
    /// By their grids, which are few.
    kept: Vec<(Grid, Rc<Kept<'q>>)>,
}

/// The result of the first occurrence.
#[derive(Debug)]
struct Kept<'q> {
    series: Vec<KeptSeries<'q>>,
    told: ToldLists,
    /// Where the first occurrence begins.
    start_byte: usize,
    bytes: usize,
}

#[derive(Debug)]
struct KeptSeries<'q> {
    head: Head,
    column: Column,
    _held: Held<'q>,
}

impl<'q> Shared<'q> {
    /// Finds what is repeated in `expr`, which `query` is the text of.
    pub(crate) fn of(expr: &Expr, query: &'q str) -> Self {
        let mut repeats: HashMap<Meaning<'_>, Repeat<'_>> = HashMap::new();
        each_vector(expr, &mut |inner| {
            let repeat = repeats.entry(Meaning::of(inner, query)).or_default();
            repeat.left += 1;
            // What is inside is computed with the first one alone.
            repeat.left == 1
        });
        repeats.retain(|meaning, repeat| repeat.left > 1 && !meaning.text.is_empty());
        let mut repeated = HashSet::new();
        each_vector(expr, &mut |inner| {
            if repeats.contains_key(&Meaning::of(inner, query)) {
                repeated.insert(address(inner));
            }
            true
        });
        Self { repeated, repeats: RefCell::new(repeats) }
    }

    /// Whether `expr` occurs more than once.
    pub(crate) fn is_shared(&self, expr: &Expr) -> bool {
        !self.repeated.is_empty() && self.repeated.contains(&address(expr))
    }

    /// What is kept of an expression, and whether it will be asked for again.
    fn take_turn(&self, meaning: &Meaning<'q>, grid: Grid) -> (Option<Rc<Kept<'q>>>, bool) {
        let mut repeats = self.repeats.borrow_mut();
        let Some(repeat) = repeats.get_mut(meaning) else { return (None, false) };
        repeat.left = repeat.left.saturating_sub(1);
        let found = repeat.kept.iter().find(|(kept_grid, _)| *kept_grid == grid).map(|(_, kept)| kept.clone());
        let is_last = repeat.left == 0;
        if is_last {
            repeat.kept.clear();
        }
        (found, !is_last)
    }

    fn keep(&self, meaning: &Meaning<'q>, grid: Grid, kept: Rc<Kept<'q>>) {
        if let Some(repeat) = self.repeats.borrow_mut().get_mut(meaning) {
            repeat.kept.push((grid, kept));
        }
    }

    /// Bytes of all that is kept.
    fn bytes(&self) -> usize {
        self.repeats.borrow().values().flat_map(|repeat| &repeat.kept).map(|(_, kept)| kept.bytes).sum()
    }
}

impl Evaluator<'_> {
    /// Evaluates a repeated expression, or hands on the result that is kept of it.
    pub(super) fn shared_vector(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        if grid.len > 1 && is_invariant(expr) {
            return widened(grid, sink, |first, sink| self.shared_vector(expr, first, sink));
        }
        let meaning = Meaning::of(expr, self.notes.query());
        let (found, will_be_asked) = self.shared.take_turn(&meaning, grid);
        if let Some(kept) = found {
            self.notes.absorb(kept.told.moved(kept.start_byte, expr.span.start));
            return self.trace.node(expr, sink, |sink| match Rc::try_unwrap(kept) {
                Ok(kept) => self.hand_over(kept.series, grid, sink),
                Err(kept) => self.hand_out(&kept, grid, sink),
            });
        }
        if !will_be_asked {
            return self.vector_anew(expr, grid, sink);
        }
        let bytes_max = (self.guard.options().bytes_max / MEMORY_PART).saturating_sub(self.shared.bytes());
        let (mut series, mut bytes) = (Vec::new(), 0);
        let mut fits = true;
        // Nothing is handed on while there is room, so that what is told meanwhile is told of this expression alone.
        let before = self.notes.take();
        let result = self.vector_anew(expr, grid, &mut |head, column| {
            if !fits {
                return sink(head, column);
            }
            let mut held = self.guard.hold(0)?;
            let label_bytes = head.labels.packed().len() + column.histogram_bytes();
            fits = held.grow_series::<f64>(column.len(), label_bytes).is_ok() && bytes + held.bytes() <= bytes_max;
            if fits {
                bytes += held.bytes();
                series.push(KeptSeries { head, column: std::mem::take(column), _held: held });
                return Ok(());
            }
            drop(held);
            self.hand_over(std::mem::take(&mut series), grid, sink)?;
            sink(head, column)
        });
        let told = self.notes.take();
        self.notes.absorb(before);
        self.notes.absorb(told.clone());
        result?;
        if !fits {
            return Ok(());
        }
        let kept = Rc::new(Kept { series, told, start_byte: expr.span.start, bytes });
        self.shared.keep(&meaning, grid, kept.clone());
        self.hand_out(&kept, grid, sink)
    }

    /// Hands on copies.
    fn hand_out(&self, kept: &Kept<'_>, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let mut copy = Column::default();
        for KeptSeries { head, column, .. } in &kept.series {
            self.guard.spend(grid.len)?;
            copy.clone_from(column);
            sink(head.clone(), &mut copy)?;
        }
        Ok(())
    }

    /// Hands on what nobody asks for again; each series is given back when the next one's turn comes.
    fn hand_over(&self, series: Vec<KeptSeries<'_>>, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        for KeptSeries { head, mut column, _held } in series {
            self.guard.spend(grid.len)?;
            sink(head, &mut column)?;
        }
        Ok(())
    }
}

fn address(expr: &Expr) -> usize {
    std::ptr::from_ref(expr).addr()
}

/// Visits the selectors in `expr`.
fn each_selector(expr: &Expr, visit: &mut dyn FnMut(&Selector)) {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Selector(selector) => visit(selector),
        ExprKind::Range(range) => visit(&range.selector),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => each_selector(inner, visit),
        ExprKind::Subquery(subquery) => each_selector(&subquery.expr, visit),
        ExprKind::Binary(binary) => {
            each_selector(&binary.left, visit);
            each_selector(&binary.right, visit);
        }
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.iter().for_each(|param| each_selector(param, visit));
            each_selector(&aggregate.expr, visit);
        }
        ExprKind::Call(call) => call.args.iter().for_each(|arg| each_selector(arg, visit)),
    }
}

/// Visits the instant vectors in `expr` that are evaluated as such, outermost first; those inside one only if `visit`
/// says so.
fn each_vector<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e Expr) -> bool) {
    // Parentheses are nothing on their own.
    let is_plain = matches!(expr.kind, ExprKind::Paren(_));
    if !is_plain && value_type(expr) == ValueType::InstantVector && !visit(expr) {
        return;
    }
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Range(_) => {}
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => each_vector(inner, visit),
        ExprKind::Subquery(subquery) => each_vector(&subquery.expr, visit),
        ExprKind::Binary(binary) => {
            each_vector(&binary.left, visit);
            each_vector(&binary.right, visit);
        }
        ExprKind::Aggregate(aggregate) => {
            each_vector(&aggregate.expr, visit);
            if let Some(param) = &aggregate.param {
                each_vector(param, visit);
            }
        }
        ExprKind::Call(call) => {
            call.args.iter().enumerate().filter(|&(at, _)| !reads_itself(call, at)).for_each(|(_, arg)| {
                each_vector(arg, visit);
            });
        }
    }
}

/// Whether a function takes argument `at` as it is written and reads on its own: `timestamp(x)`, `rate(x)`,
/// `info(v, {…})`.
fn reads_itself(call: &Call, at: usize) -> bool {
    use FunctionId as F;
    let is_selector = call.args.get(at).is_some_and(|arg| matches!(unparen(arg).kind, ExprKind::Selector(_)));
    let takes_selectors = call.function.args.contains(&ValueType::RangeVector)
        || matches!(call.function.id, F::Timestamp | F::StartTimestamp)
        || (call.function.id == F::Info && at == 1);
    is_selector && takes_selectors
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts that are evaluated once in a query, with how often they are asked for.
    #[track_caller]
    fn check(query: &str, want: &[(&str, usize)]) {
        let expr = crate::parse(query).expect("valid query");
        let shared = Shared::of(&expr, query);
        let mut found: Vec<_> =
            shared.repeats.borrow().iter().map(|(meaning, repeat)| (meaning.text, repeat.left)).collect();
        found.sort_unstable();
        assert_eq!(found, want, "{query}");
    }

    #[test]
    fn what_is_repeated() {
        check("x", &[]);
        check("x + y", &[]);
        check("x / on () group_left () sum(x)", &[("x", 2)]);
        check("rate(a[5m]) > 1 and rate(a[5m]) < 5", &[("rate(a[5m])", 2)]);
        check("(x) + ((x))", &[("x", 2)]);
        check("x + x @ 10 + x offset 1m + x{}", &[]);
        check("sum(x) + sum(x)", &[("sum(x)", 2)]);
        check("sum(x) + sum(x) + x", &[("sum(x)", 2), ("x", 2)]);
        check("sum(x) + max(x)", &[("x", 2)]);
        check("max_over_time(sum(x)[5m:1m]) + sum(x)", &[("sum(x)", 2)]);
        check("1 + 1 + time() + time()", &[]);
        check("scalar(x) + scalar(x)", &[("x", 2)]);
        // What functions read themselves is no result that could be kept.
        check("timestamp(x) + timestamp((x))", &[]);
        check("x - timestamp(x)", &[]);
        check("rate(x) / x", &[]);
        check("info(x, {a=\"b\"}) + {a=\"b\"}", &[]);
        check("info(x) + x", &[("x", 2)]);
        check("timestamp(x + 1) - (x + 1)", &[("x + 1", 2)]);
        // Below the first the selector tells resets, below the second it does not.
        check("histogram_count(sum(x)) + histogram_quantile(1, sum(x))", &[]);
        check("histogram_count(sum(x)) + histogram_sum(sum(x))", &[("sum(x)", 2)]);
    }
}
