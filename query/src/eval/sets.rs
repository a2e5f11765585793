//! The set operators: `and`, `or`, `unless`.
//!
//! Elements match by key at each step. One bit a step says whether a key is there.

use std::collections::HashMap;

use model::Labels;

use super::column::{Column, Gathered, Sink, is_present};
use super::error::Result;
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::guard::{Guard, Held};
use super::names::KeyMaker;
use crate::ast::{Binary, BinaryOp};

/// One bit for each step.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepSet(Vec<u64>);

impl StepSet {
    /// No step of `len`.
    pub(crate) fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    /// Adds one step; false if it was there.
    #[inline]
    pub(crate) fn insert(&mut self, step: usize) -> bool {
        let (word, bit) = (&mut self.0[step / 64], 1u64 << (step % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    #[inline]
    pub(crate) fn contains(&self, step: usize) -> bool {
        self.0[step / 64] & (1 << (step % 64)) != 0
    }

    /// Adds the steps where a column has a value.
    pub(crate) fn add_present(&mut self, column: &Column) {
        for (word, slots) in self.0.iter_mut().zip(column.slots().chunks(64)) {
            for (bit, &value) in slots.iter().enumerate() {
                *word |= u64::from(is_present(value)) << bit;
            }
        }
        for (step, _) in column.histograms() {
            self.insert(step);
        }
    }
}

/// At which steps each key is there.
#[derive(Debug)]
struct Presence<'g> {
    keys: KeyMaker,
    steps: HashMap<Labels, StepSet>,
    held: Held<'g>,
    len: usize,
}

impl<'g> Presence<'g> {
    fn new(binary: &Binary, guard: &'g Guard<'_>, len: usize) -> Result<Self> {
        let keys = KeyMaker::of_matching(binary.matching.as_ref());
        Ok(Self { keys, steps: HashMap::new(), held: guard.hold(0)?, len })
    }

    fn add(&mut self, labels: &Labels, column: &Column) -> Result<()> {
        let key = self.keys.key(labels);
        if !self.steps.contains_key(&key) {
            self.held.grow_series::<u64>(self.len.div_ceil(64), key.packed().len())?;
        }
        self.steps.entry(key).or_insert_with(|| StepSet::new(self.len)).add_present(column);
        Ok(())
    }

    /// Keeps the values of the steps where the key of `labels` is there, or (`wanted` false) is not.
    fn keep(&mut self, labels: &Labels, column: &mut Column, wanted: bool) {
        match self.steps.get(&self.keys.key(labels)) {
            Some(steps) => column.retain(|at| steps.contains(at) == wanted),
            None if wanted => column.reset(self.len),
            None => {}
        }
    }
}

impl Evaluator<'_> {
    pub(crate) fn set_operation(&self, binary: &Binary, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let mut presence = Presence::new(binary, &self.guard, grid.len)?;
        if binary.op == BinaryOp::Or {
            // The same series may come from both sides, at different steps.
            let mut result = Gathered::new(&self.guard)?;
            self.vector(&binary.left, grid, &mut |head, column| {
                self.guard.spend(grid.len)?;
                presence.add(&head.labels, column)?;
                result.add(head, column)
            })?;
            self.vector(&binary.right, grid, &mut |head, column| {
                self.guard.spend(grid.len)?;
                presence.keep(&head.labels, column, false);
                if column.is_empty() { Ok(()) } else { result.add(head, column) }
            })?;
            return result.emit(sink);
        }
        self.vector(&binary.right, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            presence.add(&head.labels, column)
        })?;
        self.vector(&binary.left, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            presence.keep(&head.labels, column, binary.op == BinaryOp::And);
            if column.is_empty() { Ok(()) } else { sink(head, column) }
        })
    }
}
