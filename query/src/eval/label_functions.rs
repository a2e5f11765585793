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
        self.relabelled(vector, grid, sink, &mut |labels, builder| {
            let Some(captures) = regex.captures(labels.get(source).unwrap_or("")) else { return false };
            value.clear();
            captures.expand(replacement, &mut value);
            builder.set(target, &value);
            target == METRIC_NAME
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
            builder.set(target, &values.join(separator));
            target == METRIC_NAME
        })
    }

    /// Every series under the labels that `change` makes of its own; `change` says whether it wrote the name, which is
    /// then kept.
    fn relabelled(
        &self,
        vector: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
        change: &mut dyn FnMut(&Labels, &mut LabelsBuilder) -> bool,
    ) -> Result<()> {
        let mut builder = LabelsBuilder::new();
        let mut result = Gathered::new(&self.guard)?;
        self.vector(vector, grid, &mut |head, column| {
            builder.clear();
            builder.extend(head.labels.as_ref());
            let wrote_name = change(&head.labels, &mut builder);
            let labels = build(&mut builder)?;
            self.guard.spend(grid.len)?;
            result.add(Head { labels, drop_name: head.drop_name && !wrote_name }, column)
        })?;
        result.emit(sink)
    }
}
