//! Explaining: what each node of a query read, yielded and took.
//!
//! Kept only when it is asked for. The time of a node is that of it and what is below, without what its results were
//! used for above; where several threads worked, their times are added up.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use model::{Matcher, ReadCost};

use super::column::{Column, Head, Sink};
use super::error::Result;
use super::shared::Shared;
use super::summaries::Extent;
use crate::ast::{Expr, ExprKind};

/// One node of an explained query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    /// What it is: a selector as written, the name of a function or aggregation, an operator.
    pub node: String,
    /// Its bytes in the query text, from and to.
    pub position: (usize, usize),
    /// Series read by a selector, or handed on by another node.
    pub series: u64,
    /// Chunks decoded by it and below.
    pub chunks: u64,
    /// Samples decoded by it and below.
    pub samples: u64,
    /// Encoded bytes decoded by it and below.
    pub bytes: u64,
    /// Time of it and below, over all threads.
    pub time_us: u64,
    /// What is special about it.
    pub note: Option<&'static str>,
    /// What a selector read where samples are kept no more.
    pub downsampled: Option<Downsampled>,
    /// What it is computed of.
    pub children: Vec<Explain>,
}

/// Summaries that a selector read instead of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downsampled {
    /// Which parts of them were used, as `max` or `sum, count`.
    pub columns: &'static str,
    /// How many there were.
    pub summaries: u64,
    /// Length of the shortest window of any, in milliseconds.
    pub window_ms_min: i64,
    /// Length of the longest.
    pub window_ms_max: i64,
    /// The end of the latest window, in milliseconds since the Unix epoch: from there on all samples are kept.
    pub samples_from_ms: i64,
}

/// What one node took.
#[derive(Debug, Clone, Copy, Default)]
struct NodeCost {
    series: u64,
    read: ReadCost,
    time: Duration,
    summaries: Option<Downsampled>,
}

/// What the nodes of a query took, by their address; nothing when it is not asked for.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    nodes: Option<RefCell<HashMap<usize, NodeCost>>>,
}

impl Trace {
    pub(super) fn new(is_on: bool) -> Self {
        Self { nodes: is_on.then(RefCell::default) }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.nodes.is_some()
    }

    /// Reports that a series of the selector with these matchers was read.
    #[inline]
    pub(super) fn count_read(&self, matchers: &[Matcher], cost: ReadCost, started: Option<Instant>) {
        if let Some(nodes) = &self.nodes {
            let mut nodes = nodes.borrow_mut();
            let node = nodes.entry(matchers.as_ptr().addr()).or_default();
            node.series += 1;
            node.read += cost;
            node.time += started.map_or(Duration::ZERO, |started| started.elapsed());
        }
    }

    /// Reports that the selector with these matchers took `columns` of `count` summaries.
    pub(super) fn count_summaries(&self, matchers: &[Matcher], columns: &'static str, count: usize, extent: Extent) {
        if let Some(nodes) = &self.nodes {
            let mut nodes = nodes.borrow_mut();
            let node = nodes.entry(matchers.as_ptr().addr()).or_default();
            let (window_ms_min, window_ms_max) = extent.window_ms;
            let (summaries, samples_from_ms) = (count as u64, extent.end_ms);
            let found = Downsampled { columns, summaries, window_ms_min, window_ms_max, samples_from_ms };
            node.summaries = joined(node.summaries, Some(found));
        }
    }

    /// Runs a node and reports what it handed on and took.
    pub(super) fn node(
        &self,
        expr: &Expr,
        sink: &mut Sink<'_>,
        run: impl FnOnce(&mut Sink<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(nodes) = &self.nodes else { return run(sink) };
        let started = Instant::now();
        let (mut series, mut above) = (0, Duration::ZERO);
        let result = run(&mut |head: Head, column: &mut Column| {
            series += 1;
            let began = Instant::now();
            let result = sink(head, column);
            above += began.elapsed();
            result
        });
        let mut nodes = nodes.borrow_mut();
        let node = nodes.entry(std::ptr::from_ref(expr).addr()).or_default();
        node.series += series;
        node.time += started.elapsed().saturating_sub(above);
        result
    }

    /// Adds what another thread found out.
    pub(super) fn absorb(&self, other: Self) {
        let (Some(nodes), Some(others)) = (&self.nodes, other.nodes) else { return };
        let mut nodes = nodes.borrow_mut();
        for (address, cost) in others.into_inner() {
            let node = nodes.entry(address).or_default();
            node.series += cost.series;
            node.read += cost.read;
            node.time += cost.time;
            node.summaries = joined(node.summaries, cost.summaries);
        }
    }

    /// The tree of `expr`, if it was asked for.
    pub(super) fn explain(&self, expr: &Expr, shared: &Shared<'_>) -> Option<Explain> {
        let nodes = self.nodes.as_ref()?.borrow();
        Some(build(expr, &nodes, shared))
    }
}

fn build(expr: &Expr, nodes: &HashMap<usize, NodeCost>, shared: &Shared<'_>) -> Explain {
    let expr = super::evaluator::unparen(expr);
    let own = nodes.get(&std::ptr::from_ref(expr).addr()).copied().unwrap_or_default();
    let mut explain = Explain {
        node: name_of(expr),
        position: (expr.span.start, expr.span.end),
        series: own.series,
        chunks: 0,
        samples: 0,
        bytes: 0,
        time_us: 0,
        note: None,
        downsampled: None,
        children: children_of(expr).into_iter().map(|child| build(child, nodes, shared)).collect(),
    };
    let mut time = own.time;
    if let ExprKind::Selector(selector) = &expr.kind {
        add_reads(&mut explain, nodes, &selector.matchers, &mut time);
    } else if let ExprKind::Range(range) = &expr.kind {
        add_reads(&mut explain, nodes, &range.selector.matchers, &mut time);
    }
    let mut below_us = 0;
    for child in &explain.children {
        explain.chunks += child.chunks;
        explain.samples += child.samples;
        explain.bytes += child.bytes;
        below_us += child.time_us;
    }
    // What was below in several threads took longer than it was waited for.
    explain.time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(below_us);
    if shared.is_shared(expr) {
        explain.note = Some(if own.series > 0 && explain.samples == 0 && has_selector(expr) {
            "kept from its first occurrence"
        } else {
            "occurs more than once, evaluated once"
        });
    }
    explain
}

fn add_reads(explain: &mut Explain, nodes: &HashMap<usize, NodeCost>, matchers: &[Matcher], time: &mut Duration) {
    let Some(cost) = nodes.get(&matchers.as_ptr().addr()) else { return };
    explain.series = cost.series;
    explain.chunks = cost.read.chunks;
    explain.samples = cost.read.samples;
    explain.bytes = cost.read.bytes;
    explain.downsampled = cost.summaries;
    *time = (*time).max(cost.time);
}

/// What was read of both.
fn joined(one: Option<Downsampled>, other: Option<Downsampled>) -> Option<Downsampled> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    Some(Downsampled {
        columns: other.columns,
        summaries: one.summaries + other.summaries,
        window_ms_min: one.window_ms_min.min(other.window_ms_min),
        window_ms_max: one.window_ms_max.max(other.window_ms_max),
        samples_from_ms: one.samples_from_ms.max(other.samples_from_ms),
    })
}

fn has_selector(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Selector(_) | ExprKind::Range(_)) || children_of(expr).into_iter().any(has_selector)
}

/// What of `expr` is worth a line: everything but numbers and strings.
fn children_of(expr: &Expr) -> Vec<&Expr> {
    let all: Vec<&Expr> = match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Range(_) => Vec::new(),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => vec![inner],
        ExprKind::Subquery(subquery) => vec![&subquery.expr],
        ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
        ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
        ExprKind::Call(call) => call.args.iter().collect(),
    };
    let is_literal =
        |expr: &&Expr| matches!(super::evaluator::unparen(expr).kind, ExprKind::Number(_) | ExprKind::String(_));
    all.into_iter().filter(|child| !is_literal(child)).collect()
}

fn name_of(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Range(_) => expr.to_string(),
        ExprKind::Paren(inner) => name_of(inner),
        ExprKind::Unary(crate::ast::UnaryOp::Plus, _) => "+".to_owned(),
        ExprKind::Unary(crate::ast::UnaryOp::Minus, _) => "-".to_owned(),
        // What is written after the inner expression.
        ExprKind::Subquery(subquery) => {
            let (whole, inner) = (expr.to_string(), subquery.expr.to_string());
            whole.strip_prefix(&inner).unwrap_or(&whole).to_owned()
        }
        ExprKind::Binary(binary) => binary.op.as_str().to_owned(),
        ExprKind::Call(call) => call.function.name.to_owned(),
        ExprKind::Aggregate(aggregate) => match &aggregate.grouping {
            None => aggregate.op.as_str().to_owned(),
            Some(grouping) => {
                let word = if grouping.without { "without" } else { "by" };
                format!("{} {word} ({})", aggregate.op.as_str(), grouping.labels.join(", "))
            }
        },
    }
}
