//! The sorting functions, and the natural order of texts with numbers in them.

use std::cmp::Ordering;

use super::column::{Column, Gathered, Series, Sink};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, string_literal};
use super::grid::Grid;
use super::notes::Note;
use crate::ast::{Expr, Span};
use crate::functions::FunctionId;

impl Evaluator<'_> {
    /// `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`. A range query's result is ordered by labels anyway.
    pub(crate) fn sorted(
        &self,
        id: FunctionId,
        args: &[Expr],
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let [vector, names @ ..] = args else { return Err(execution("nothing to sort")) };
        if !self.is_instant {
            self.notes.add(Note::SortInRangeQuery, span);
        }
        // Histograms have no place in an order of values.
        let is_by_value = matches!(id, FunctionId::Sort | FunctionId::SortDesc);
        let drop_histograms = |column: &mut Column| {
            if is_by_value {
                column.drop_histograms();
            }
        };
        if grid.len > 1 {
            return self.vector(vector, grid, &mut |head, column| {
                drop_histograms(column);
                if column.is_empty() { Ok(()) } else { sink(head, column) }
            });
        }
        let names: Vec<&str> = names.iter().map(|name| string_literal(name)).collect::<Result<_>>()?;
        let mut gathered = Gathered::new(&self.guard)?;
        self.vector(vector, grid, &mut |head, column| {
            drop_histograms(column);
            if column.is_empty() { Ok(()) } else { gathered.add(head, column) }
        })?;
        let value = |series: &Series| series.column.get(0).unwrap_or(f64::NAN);
        gathered.series.sort_by(|a, b| match id {
            FunctionId::Sort => nan_last(value(a), value(b), compare),
            FunctionId::SortDesc => nan_last(value(a), value(b), |a, b| compare(b, a)),
            FunctionId::SortByLabel => by_labels(a, b, &names),
            _ => by_labels(b, a, &names),
        });
        gathered.emit(sink)
    }
}

fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

/// Orders numbers by `order`, and NaN behind them all.
pub(crate) fn nan_last(a: f64, b: f64, order: impl Fn(f64, f64) -> Ordering) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => order(a, b),
        (a_nan, b_nan) => a_nan.cmp(&b_nan),
    }
}

fn by_labels(a: &Series, b: &Series, names: &[&str]) -> Ordering {
    fn value<'s>(series: &'s Series, name: &str) -> &'s str {
        series.head.labels.get(name).unwrap_or("")
    }
    names
        .iter()
        .map(|name| natural(value(a, name), value(b, name)))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.head.labels.cmp(&b.head.labels))
}

/// Compares texts with their runs of digits taken as numbers: `a2` before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (a_digits, b_digits) = (digits(a), digits(b));
        if a_digits > 0 && b_digits > 0 {
            let (a_number, b_number) = (trim_zeros(&a[..a_digits]), trim_zeros(&b[..b_digits]));
            let order = a_number.len().cmp(&b_number.len()).then_with(|| a_number.cmp(b_number));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[a_digits..], &b[b_digits..]);
            continue;
        }
        match (a.split_first(), b.split_first()) {
            (Some((a_first, a_rest)), Some((b_first, b_rest))) if a_first == b_first => (a, b) = (a_rest, b_rest),
            (a_split, b_split) => return a_split.map(|(first, _)| first).cmp(&b_split.map(|(first, _)| first)),
        }
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn trim_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&digit| digit == b'0').count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order() {
        let sorted = ["", "2", "10", "010a", "a", "a2", "a10", "a10b2", "a10b11", "b", "é"];
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                assert_eq!(natural(a, b), at.cmp(&other), "{a:?} {b:?}");
            }
        }
    }
}
