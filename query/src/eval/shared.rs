//! Subexpressions that occur more than once in a query are evaluated once.
//!
//! Occurrences are the same if they are written the same; they are evaluated apart where the grid differs. The result
//! of the first is kept for the others as long as there is memory for it: what does not fit in a quarter of the
//! query's memory is computed again. Annotations point at each occurrence.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::column::{Column, Head, Sink};
use super::error::Result;
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::guard::Held;
use super::told::ToldLists;
use crate::ast::{Expr, ExprKind, ValueType};
use crate::value_type;

/// The part of a query's memory that kept results may take: one in so many.
const MEMORY_PART: usize = 4;

/// What is known of the query's repeated subexpressions.
#[derive(Debug, Default)]
pub(crate) struct Shared<'g> {
    /// The addresses of the repeated ones.
    repeated: HashSet<usize>,
    kept: RefCell<HashMap<(String, Grid), Kept<'g>>>,
}

/// The result of the first occurrence.
#[derive(Debug)]
struct Kept<'g> {
    series: Vec<(Head, Column)>,
    told: ToldLists,
    /// Where the first occurrence begins.
    start_byte: usize,
    _held: Held<'g>,
}

impl Shared<'_> {
    /// Finds what is repeated in `expr`, which `query` is the text of.
    pub(crate) fn of(expr: &Expr, query: &str) -> Self {
        let mut counts = HashMap::new();
        each_vector(expr, &mut |inner| {
            *counts.entry(text_of(inner, query)).or_insert(0usize) += 1;
            true
        });
        let mut repeated = HashSet::new();
        each_vector(expr, &mut |inner| {
            let text = text_of(inner, query);
            let is_repeated = !text.is_empty() && counts.get(text).is_some_and(|&count| count > 1);
            if is_repeated {
                repeated.insert(address(inner));
            }
            // What is inside a repeated one is repeated with it.
            !is_repeated
        });
        Self { repeated, kept: RefCell::default() }
    }

    /// Whether `expr` occurs more than once.
    pub(crate) fn is_shared(&self, expr: &Expr) -> bool {
        !self.repeated.is_empty() && self.repeated.contains(&address(expr))
    }
}

impl Evaluator<'_> {
    /// Evaluates a repeated expression, or hands on the result that is kept of it.
    pub(super) fn shared_vector(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let key = (text_of(expr, self.notes.query()).to_owned(), grid);
        // Taken out while it is in use, so that nothing is borrowed while the sink works.
        let kept = self.shared.kept.borrow_mut().remove(&key);
        if let Some(kept) = kept {
            self.notes.absorb(kept.told.moved(kept.start_byte, expr.span.start));
            let mut column = Column::default();
            for (head, values) in &kept.series {
                self.guard.spend(grid.len)?;
                column.clone_from(values);
                sink(head.clone(), &mut column)?;
            }
            self.shared.kept.borrow_mut().insert(key, kept);
            return Ok(());
        }
        let limit_bytes = self.guard.options().bytes_max / MEMORY_PART;
        let mut held = Some(self.guard.hold(0)?);
        let mut series = Vec::new();
        // Nothing is handed on while there is room, so that what is told meanwhile is told of this expression alone.
        let before = self.notes.take();
        let result = self.vector_anew(expr, grid, &mut |head, column| {
            if let Some(holding) = &mut held {
                let label_bytes = head.labels.packed().len() + column.histogram_bytes();
                if holding.grow_series::<f64>(column.len(), label_bytes).is_ok() && holding.bytes() <= limit_bytes {
                    series.push((head, std::mem::take(column)));
                    return Ok(());
                }
                held = None;
                for (head, mut column) in std::mem::take(&mut series) {
                    sink(head, &mut column)?;
                }
            }
            sink(head, column)
        });
        let told = self.notes.take();
        self.notes.absorb(before);
        self.notes.absorb(told.clone());
        result?;
        let Some(held) = held else { return Ok(()) };
        let mut copy = Column::default();
        for (head, column) in &series {
            copy.clone_from(column);
            sink(head.clone(), &mut copy)?;
        }
        let kept = Kept { series, told, start_byte: expr.span.start, _held: held };
        self.shared.kept.borrow_mut().insert(key, kept);
        Ok(())
    }
}

fn address(expr: &Expr) -> usize {
    std::ptr::from_ref(expr).addr()
}

fn text_of<'t>(expr: &Expr, query: &'t str) -> &'t str {
    query.get(expr.span.start..expr.span.end).unwrap_or_default()
}

/// Visits the instant vectors in `expr`, outermost first; those inside one only if `visit` says so.
fn each_vector<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e Expr) -> bool) {
    // Parentheses and signs are nothing on their own.
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
        // Functions may look at how their argument is written: `timestamp(x)`, `absent(x)`, `info(x, {…})`.
        ExprKind::Call(call) => call.args.iter().for_each(|arg| each_vector(arg, visit)),
    }
}
