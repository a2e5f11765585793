//! Operators between two vectors: which elements meet, and what their result is called.
//!
//! The side that must be unique (the "one" side; of one-to-one matching the right) is held by match key, the other
//! (the "many" side) streams past it. Keys and result labels are made once a series. At which steps there is an element
//! is a bit each: who met whom is settled by words, and values are computed in one loop over two slices.

use std::collections::HashMap;

use model::{Labels, LabelsBuilder};

use super::binary::{Operation, Partner, Place, Yields};
use super::column::{Column, Gathered, Head, Series, Sink};
use super::error::{QueryError, Result, execution};
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::guard::{Guard, Held};
use super::names::{KeyMaker, ShowLabels, build, remove_names};
use super::sets::StepSet;
use crate::ast::{Binary, Cardinality, Matching, Span};

/// How the elements of one operation meet.
#[derive(Debug)]
struct Plan<'a> {
    operation: Operation,
    /// Where the operation stands in the query.
    span: Span,
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

/// A series of the one side, and at which steps it has an element.
#[derive(Debug)]
struct OneSeries {
    series: Series,
    present: StepSet,
}

/// The one side.
#[derive(Debug)]
struct OneSide<'g> {
    series: Vec<OneSeries>,
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
        let bytes = head.labels.packed().len() + column.histogram_bytes() + self.len.div_ceil(8);
        self.held.grow_series::<f64>(self.len, bytes)?;
        let at = self.group(key)?;
        let this = self.series.len();
        let mut present = StepSet::default();
        present.set_present(column);
        let mut conflict: Option<Conflict> = None;
        for &other in &self.groups[at].series {
            guard.spend(self.len.div_ceil(64))?;
            let mut common = self.series[other].present.clone();
            common.keep_common(&present);
            match &mut conflict {
                _ if common.is_empty() => {}
                Some(conflict) => conflict.steps.add_all(&common),
                None => conflict = Some(Conflict { group: at, series: [this, other], steps: common }),
            }
        }
        if let Some(conflict) = conflict {
            self.held.grow_series::<u64>(self.len.div_ceil(64), 0)?;
            self.conflicts.push(conflict);
        }
        self.groups[at].series.push(this);
        self.series.push(OneSeries { series: Series { head, column: std::mem::take(column) }, present });
        Ok(())
    }

    /// The error for a key that is not unique at a step where it matters, be it one that nothing matches.
    fn check_unique(&self, is_swapped: bool, matters: impl Fn(&StepSet) -> bool) -> Result<()> {
        for Conflict { group, series, steps } in &self.conflicts {
            if matters(steps) {
                let [a, b] = series.map(|at| ShowLabels(&self.series[at].series.head.labels));
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
    /// An operator between two vectors, but the set operators.
    pub(crate) fn matched(
        &self,
        binary: &Binary,
        span: Span,
        operation: Operation,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let default = Matching::default();
        let plan = Plan::new(binary.matching.as_ref().unwrap_or(&default), operation, span);
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
        if plan.fill_many.is_some() {
            side.check_unique(plan.is_swapped, |_| true)?;
        }
        let mut pairing = Pairing {
            evaluator: self,
            plan: &plan,
            result: Gathered::new(&self.guard)?,
            builder: LabelsBuilder::new(),
            pair: Column::default(),
            common: StepSet::default(),
        };
        let mut present = StepSet::default();
        self.vector(many, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            self.guard.spend(side.conflicts.len().saturating_mul(grid.len.div_ceil(64)))?;
            present.set_present(column);
            side.check_unique(plan.is_swapped, |steps| steps.meets(&present))?;
            pairing.meet(&mut side, keys.key(&head.labels), &head, column, &present)
        })?;
        if let Some(value) = plan.fill_many {
            pairing.fill_many(&side, value)?;
        }
        pairing.result.emit(sink)
    }
}

impl<'a> Plan<'a> {
    fn new(matching: &'a Matching, operation: Operation, span: Span) -> Self {
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
        Self { operation, span, matching, include, is_one_to_one, is_swapped, fill_one, fill_many }
    }

    /// Which operand the many side is.
    fn place_of_many(&self) -> Place {
        if self.is_swapped { Place::Right } else { Place::Left }
    }

    /// Which operand the one side is.
    fn place_of_one(&self) -> Place {
        if self.is_swapped { Place::Left } else { Place::Right }
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
        if self.operation.yields == Yields::Computed {
            remove_names(builder);
        }
        for name in self.include {
            builder.set(name, one.get(name).unwrap_or(""));
        }
        let drop_name = match self.operation.yields {
            Yields::Computed => false,
            Yields::Bool => true,
            Yields::Filtered | Yields::Trimmed => many.drop_name,
        };
        Ok(Head { labels: build(builder)?, drop_name })
    }
}

/// The results of an operation as they come.
struct Pairing<'p, 'g, 'q> {
    evaluator: &'g Evaluator<'q>,
    plan: &'p Plan<'p>,
    result: Gathered<'g>,
    builder: LabelsBuilder,
    /// The results of one pair of series.
    pair: Column,
    /// The steps at which they meet.
    common: StepSet,
}

impl Pairing<'_, '_, '_> {
    /// Pairs one series of the many side, which has elements at the steps `present`, with what there is for its key.
    /// Its column may be taken.
    fn meet(
        &mut self,
        side: &mut OneSide<'_>,
        key: Labels,
        head: &Head,
        column: &mut Column,
        present: &StepSet,
    ) -> Result<()> {
        let plan = self.plan;
        let at = match side.index.get(&key) {
            Some(&at) => at,
            None if plan.fill_one.is_some() => side.group(key)?,
            None => return Ok(()),
        };
        let Group { key, series, met } = &mut side.groups[at];
        let mut unmatched = present.clone();
        for (nth, &one) in series.iter().enumerate() {
            let OneSeries { series: one, present: one_present } = &side.series[one];
            self.common.clone_from(present);
            self.common.keep_common(one_present);
            if self.common.is_empty() {
                continue;
            }
            if plan.is_one_to_one && met.meets(&self.common) {
                return Err(many_to_one());
            }
            met.add_all(&self.common);
            unmatched.remove_all(&self.common);
            if nth + 1 == series.len() && plan.fill_one.is_none() {
                std::mem::swap(&mut self.pair, column);
            } else {
                self.pair.clone_from(column);
            }
            self.compute(plan.place_of_many(), Partner::Column(&one.column))?;
            if !self.pair.is_empty() {
                let head = plan.result_head(&mut self.builder, head, &one.head.labels)?;
                self.add(head)?;
            }
        }
        let Some(fill) = plan.fill_one.filter(|_| !unmatched.is_empty()) else { return Ok(()) };
        if plan.is_one_to_one && met.meets(&unmatched) {
            return Err(many_to_one());
        }
        met.add_all(&unmatched);
        self.pair.clone_from(column);
        self.pair.retain(|step| unmatched.contains(step));
        self.compute(plan.place_of_many(), Partner::Scalars(&vec![fill; side.len]))?;
        if self.pair.is_empty() {
            return Ok(());
        }
        let head = plan.result_head(&mut self.builder, head, key)?;
        self.add(head)
    }

    /// Pairs the elements of the one side that nothing met with `value`.
    fn fill_many(&mut self, side: &OneSide<'_>, value: f64) -> Result<()> {
        let fill = vec![value; side.len];
        for group in &side.groups {
            for &one in &group.series {
                let OneSeries { series: one, present } = &side.series[one];
                let mut unmatched = present.clone();
                unmatched.remove_all(&group.met);
                self.pair.clone_from(&one.column);
                self.pair.retain(|step| unmatched.contains(step));
                self.compute(self.plan.place_of_one(), Partner::Scalars(&fill))?;
                if !self.pair.is_empty() {
                    let many = Head::new(group.key.clone());
                    let head = self.plan.result_head(&mut self.builder, &many, &one.head.labels)?;
                    self.add(head)?;
                }
            }
        }
        Ok(())
    }

    /// Turns the values in `pair` into the results with their partners.
    fn compute(&mut self, place: Place, partner: Partner<'_>) -> Result<()> {
        let operation = self.plan.operation;
        let others = match partner {
            Partner::Scalars(values) => Some(values),
            Partner::Column(column) => (!column.has_histograms()).then(|| column.slots()),
        };
        match others {
            Some(others) if !self.pair.has_histograms() && operation.yields != Yields::Trimmed => {
                operation.apply(place, self.pair.slots_mut(), others);
                Ok(())
            }
            _ => self.evaluator.histograms_with(operation, place, &mut self.pair, partner, self.plan.span),
        }
    }

    fn add(&mut self, head: Head) -> Result<()> {
        self.result.add(head, &mut self.pair).map_err(|error| match error {
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
