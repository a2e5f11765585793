//! `label_replace` and `label_join`: series under other labels.

use model::labels::METRIC_NAME;
use model::re2::compile_captures;
use model::{Labels, LabelsBuilder};

use super::column::{Gathered, Head, Sink};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, string_literal};
use super::grid::Grid;
use super::names::build;
use crate::ast::Expr;

/// Longest label value that a query may make. A stored one is some kilobytes at most; nested calls could multiply it.
const VALUE_BYTES_MAX: usize = 1 << 20;

impl Evaluator<'_> {
    pub(crate) fn label_replace(&self, args: &[Expr], grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let [vector, target, replacement, source, pattern] = args else {
            return Err(execution("label_replace takes five arguments"));
        };
        let (target, replacement) = (string_literal(target)?, string_literal(replacement)?);
        let (source, pattern) = (string_literal(source)?, string_literal(pattern)?);
        let regex = compile_captures(pattern)
            .map_err(|error| execution(format!("invalid regular expression in label_replace(): {error}")))?;
        if target.is_empty() {
            return Err(execution(format!("invalid destination label name in label_replace(): {target}")));
        }
        let mut value = String::new();
        let references = replacement.matches('$').count();
        self.relabelled(vector, grid, sink, &mut |labels, builder| {
            let text = labels.get(source).unwrap_or("");
            let Some(captures) = regex.captures(text) else { return Ok(false) };
            // Each reference stands for the whole text at most.
            check_length(replacement.len().saturating_add(references.saturating_mul(text.len())))?;
            value.clear();
            captures.expand(replacement, &mut value);
            builder.set(target, &value);
            Ok(target == METRIC_NAME)
        })
    }

    pub(crate) fn label_join(&self, args: &[Expr], grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let [vector, target, separator, sources @ ..] = args else {
            return Err(execution("label_join takes at least three arguments"));
        };
        let (target, separator) = (string_literal(target)?, string_literal(separator)?);
        let sources: Vec<&str> = sources.iter().map(|source| string_literal(source)).collect::<Result<_>>()?;
        if sources.contains(&"") {
            return Err(execution("invalid source label name in label_join(): "));
        }
        if target.is_empty() {
            return Err(execution("invalid destination label name in label_join(): "));
        }
        self.relabelled(vector, grid, sink, &mut |labels, builder| {
            let values: Vec<&str> = sources.iter().map(|&source| labels.get(source).unwrap_or("")).collect();
            check_length(values.iter().map(|value| value.len().saturating_add(separator.len())).sum())?;
            builder.set(target, &values.join(separator));
            Ok(target == METRIC_NAME)
        })
    }

    /// Every series under the labels that `change` makes of its own; `change` says whether it wrote the name, which is
    /// then kept.
    fn relabelled(
        &self,
        vector: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
        change: &mut dyn FnMut(&Labels, &mut LabelsBuilder) -> Result<bool>,
    ) -> Result<()> {
        let mut builder = LabelsBuilder::new();
        let mut result = Gathered::new(&self.guard)?;
        self.vector(vector, grid, &mut |head, column| {
            builder.clear();
            builder.extend(head.labels.as_ref());
            let wrote_name = change(&head.labels, &mut builder)?;
            let labels = build(&mut builder)?;
            self.guard.spend(grid.len.saturating_add(labels.packed().len()))?;
            result.add(Head { labels, drop_name: head.drop_name && !wrote_name }, column)
        })?;
        result.emit(sink)
    }
}

fn check_length(bytes: usize) -> Result<()> {
    if bytes > VALUE_BYTES_MAX {
        return Err(execution(format!("label value of up to {bytes} bytes is longer than {VALUE_BYTES_MAX} bytes")));
    }
    Ok(())
}
