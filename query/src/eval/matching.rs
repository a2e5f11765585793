//! Operators between two vectors: which elements meet, and what their result is called.
//!
//! The side that must be unique (the "one" side; of one-to-one matching the right) is held by match key, the other
//! (the "many" side) streams past it. Keys and result labels are made once a series; a step costs two loads.

use std::collections::HashMap;

use model::{Labels, LabelsBuilder};

use super::binary::Operation;
use super::column::{Column, Gathered, Head, Series, Sink, is_present};
use super::error::{QueryError, Result, execution};
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::guard::{Guard, Held};
use super::names::{KeyMaker, ShowLabels, build, remove_names};
use super::sets::StepSet;
use crate::ast::{Binary, Cardinality, Matching};

/// How the elements of one operation meet.
#[derive(Debug)]
struct Plan<'a> {
    operation: Operation,
    matching: &'a Matching,
    /// Labels copied from the one side.
    include: &'a [String],
    is_one_to_one: bool,
    /// Whether the many side is the right operand.
    is_swapped: bool,
    /// Stands in for a missing element of the one side, of the many side.
    fill_one: Option<f64>,
    fill_many: Option<f64>,
}

/// The elements of the one side with one key.
#[derive(Debug)]
struct Group {
    key: Labels,
    /// Indexes into the one side's series: more than one only if they take turns.
    series: Vec<usize>,
    /// At which steps an element of the many side met this group.
    met: StepSet,
}

/// An element of the one side that others with the same key, of which the first is named, meet at these steps.
#[derive(Debug)]
struct Conflict {
    group: usize,
    series: [usize; 2],
    steps: StepSet,
}

/// The one side.
#[derive(Debug)]
struct OneSide<'g> {
    series: Vec<Series>,
    groups: Vec<Group>,
    index: HashMap<Labels, usize>,
    conflicts: Vec<Conflict>,
    held: Held<'g>,
    len: usize,
}

impl OneSide<'_> {
    fn group(&mut self, key: Labels) -> Result<usize> {
        if let Some(&at) = self.index.get(&key) {
            return Ok(at);
        }
        self.held.grow_series::<u64>(self.len.div_ceil(64), key.packed().len())?;
        self.index.insert(key.clone(), self.groups.len());
        self.groups.push(Group { key, series: Vec::new(), met: StepSet::new(self.len) });
        Ok(self.groups.len() - 1)
    }

    fn add(&mut self, guard: &Guard<'_>, key: Labels, head: Head, column: &mut Column) -> Result<()> {
        self.held.grow_series::<f64>(self.len, head.labels.packed().len())?;
        let at = self.group(key)?;
        let this = self.series.len();
        let mut conflict: Option<Conflict> = None;
        for &other in &self.groups[at].series {
            guard.spend(self.len)?;
            let slots = self.series[other].column.slots().iter().zip(column.slots());
            for (step, _) in slots.enumerate().filter(|(_, (a, b))| is_present(**a) && is_present(**b)) {
                let new = || Conflict { group: at, series: [this, other], steps: StepSet::new(self.len) };
                conflict.get_or_insert_with(new).steps.insert(step);
            }
        }
        if let Some(conflict) = conflict {
            self.held.grow_series::<u64>(self.len.div_ceil(64), 0)?;
            self.conflicts.push(conflict);
        }
        self.groups[at].series.push(this);
        self.series.push(Series { head, column: std::mem::take(column) });
        Ok(())
    }

    /// The error for a key that is not unique at a step where it matters, be it one that nothing matches.
    fn check_unique(&self, is_swapped: bool, matters: impl Fn(usize) -> bool) -> Result<()> {
        for Conflict { group, series, steps } in &self.conflicts {
            if (0..self.len).any(|step| steps.contains(step) && matters(step)) {
                let [a, b] = series.map(|at| ShowLabels(&self.series[at].head.labels));
                return Err(execution(format!(
                    "found duplicate series for the match group {} on the {} hand-side of the operation: [{a}, {b}]\
                     ;many-to-many matching not allowed: matching labels must be unique on one side",
                    ShowLabels(&self.groups[*group].key),
                    if is_swapped { "left" } else { "right" },
                )));
            }
        }
        Ok(())
    }
}

impl Evaluator<'_> {
    /// An arithmetic or comparison operator between two vectors.
    pub(crate) fn matched(&self, binary: &Binary, operation: Operation, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let default = Matching::default();
        let plan = Plan::new(binary.matching.as_ref().unwrap_or(&default), operation);
        let (many, one) = if plan.is_swapped { (&binary.right, &binary.left) } else { (&binary.left, &binary.right) };
        let mut keys = KeyMaker::of_matching(binary.matching.as_ref());
        let mut side = OneSide {
            series: Vec::new(),
            groups: Vec::new(),
            index: HashMap::new(),
            conflicts: Vec::new(),
            held: self.guard.hold(0)?,
            len: grid.len,
        };
        self.vector(one, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            side.add(&self.guard, keys.key(&head.labels), head, column)
        })?;
        let mut pairing = Pairing { plan: &plan, result: Gathered::new(&self.guard)?, builder: LabelsBuilder::new() };
        if plan.fill_many.is_some() {
            side.check_unique(plan.is_swapped, |_| true)?;
        }
        let mut pair = Column::default();
        self.vector(many, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            self.guard.spend(side.conflicts.len().saturating_mul(grid.len))?;
            side.check_unique(plan.is_swapped, |step| is_present(column.slots()[step]))?;
            pairing.meet(&mut side, keys.key(&head.labels), &head, column, &mut pair)
        })?;
        if let Some(value) = plan.fill_many {
            pairing.fill_many(&side, value, &mut pair)?;
        }
        pairing.result.emit(sink)
    }
}

impl<'a> Plan<'a> {
    fn new(matching: &'a Matching, operation: Operation) -> Self {
        let (include, is_one_to_one, is_swapped): (&[String], bool, bool) = match &matching.cardinality {
            Cardinality::OneToOne => (&[], true, false),
            Cardinality::ManyToOne { include } => (include, false, false),
            Cardinality::OneToMany { include } => (include, false, true),
        };
        let (fill_one, fill_many) = if is_swapped {
            (matching.fill_left, matching.fill_right)
        } else {
            (matching.fill_right, matching.fill_left)
        };
        Self { operation, matching, include, is_one_to_one, is_swapped, fill_one, fill_many }
    }

    fn apply(&self, many: f64, one: f64) -> f64 {
        if self.is_swapped { self.operation.apply(one, many) } else { self.operation.apply(many, one) }
    }

    /// What the result of two elements is called.
    fn result_head(&self, builder: &mut LabelsBuilder, many: &Head, one: &Labels) -> Result<Head> {
        builder.clear();
        let is_listed = |name: &str| self.matching.labels.iter().any(|label| label == name);
        for (name, value) in &many.labels {
            if !self.is_one_to_one || is_listed(name) == self.matching.on {
                builder.push(name, value);
            }
        }
        if matches!(self.operation, Operation::Arithmetic(_)) {
            remove_names(builder);
        }
        for name in self.include {
            builder.set(name, one.get(name).unwrap_or(""));
        }
        let drop_name = match self.operation {
            Operation::Arithmetic(_) => false,
            Operation::Test(_) => true,
            Operation::Filter(_) => many.drop_name,
        };
        Ok(Head { labels: build(builder)?, drop_name })
    }
}

/// The results of an operation as they come.
struct Pairing<'p, 'g> {
    plan: &'p Plan<'p>,
    result: Gathered<'g>,
    builder: LabelsBuilder,
}

impl Pairing<'_, '_> {
    /// Pairs one series of the many side with what there is for its key.
    fn meet(
        &mut self,
        side: &mut OneSide<'_>,
        key: Labels,
        head: &Head,
        column: &Column,
        pair: &mut Column,
    ) -> Result<()> {
        let plan = self.plan;
        let at = match side.index.get(&key) {
            Some(&at) => at,
            None if plan.fill_one.is_some() => side.group(key)?,
            None => return Ok(()),
        };
        let Group { key, series, met } = &mut side.groups[at];
        for &one in &*series {
            let one = &side.series[one];
            pair.reset(side.len);
            let slots = pair.slots_mut().iter_mut().zip(column.slots().iter().zip(one.column.slots()));
            for (step, (slot, (&many, &one))) in slots.enumerate() {
                if is_present(many) && is_present(one) {
                    if !met.insert(step) && plan.is_one_to_one {
                        return Err(many_to_one());
                    }
                    *slot = plan.apply(many, one);
                }
            }
            if !pair.is_empty() {
                let head = plan.result_head(&mut self.builder, head, &one.head.labels)?;
                self.add(head, pair)?;
            }
        }
        let Some(fill) = plan.fill_one else { return Ok(()) };
        pair.reset(side.len);
        for (step, (slot, &many)) in pair.slots_mut().iter_mut().zip(column.slots()).enumerate() {
            let has_one = series.iter().any(|&one| is_present(side.series[one].column.slots()[step]));
            if is_present(many) && !has_one {
                if !met.insert(step) && plan.is_one_to_one {
                    return Err(many_to_one());
                }
                *slot = plan.apply(many, fill);
            }
        }
        if pair.is_empty() {
            return Ok(());
        }
        let head = plan.result_head(&mut self.builder, head, key)?;
        self.add(head, pair)
    }

    /// Pairs the elements of the one side that nothing met with `value`.
    fn fill_many(&mut self, side: &OneSide<'_>, value: f64, pair: &mut Column) -> Result<()> {
        for group in &side.groups {
            for &one in &group.series {
                let one = &side.series[one];
                pair.reset(side.len);
                for (step, (slot, &one)) in pair.slots_mut().iter_mut().zip(one.column.slots()).enumerate() {
                    if is_present(one) && !group.met.contains(step) {
                        *slot = self.plan.apply(value, one);
                    }
                }
                if !pair.is_empty() {
                    let many = Head::new(group.key.clone());
                    let head = self.plan.result_head(&mut self.builder, &many, &one.head.labels)?;
                    self.add(head, pair)?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, head: Head, pair: &mut Column) -> Result<()> {
        self.result.add(head, pair).map_err(|error| match error {
            QueryError::Execution { .. } if self.plan.is_one_to_one => many_to_one(),
            QueryError::Execution { .. } => {
                execution("multiple matches for labels: grouping labels must ensure unique matches")
            }
            other => other,
        })
    }
}

fn many_to_one() -> QueryError {
    execution("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")
}
