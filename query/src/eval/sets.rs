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
            *word |= present_bits(slots);
        }
        for (step, _) in column.histograms() {
            self.insert(step);
        }
    }

    /// Makes it the steps where a column has a value.
    pub(crate) fn set_present(&mut self, column: &Column) {
        self.0.clear();
        self.0.resize(column.len().div_ceil(64), 0);
        self.add_present(column);
    }

    /// Adds the steps of another set.
    pub(crate) fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Keeps the steps that are in another set.
    pub(crate) fn keep_common(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    /// Removes the steps of another set.
    pub(crate) fn remove_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    /// Whether a step is in both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(word, other)| word & other != 0)
    }

    /// Whether no step is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }
}

/// A bit for each of up to 64 slots, set where there is a value.
fn present_bits(slots: &[f64]) -> u64 {
    // Most series have a value at every step, which is seen without a shift for each.
    if slots.iter().fold(true, |all, &value| all & is_present(value)) {
        return u64::MAX >> (64 - slots.len());
    }
    slots.iter().rev().fold(0, |bits, &value| bits << 1 | u64::from(is_present(value)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::column::ABSENT;

    fn set(len: usize, steps: &[usize]) -> StepSet {
        let mut set = StepSet::new(len);
        for &step in steps {
            assert!(set.insert(step));
        }
        set
    }

    fn steps(set: &StepSet, len: usize) -> Vec<usize> {
        (0..len).filter(|&step| set.contains(step)).collect()
    }

    #[test]
    fn presence_is_one_bit_a_step() {
        for len in [1, 63, 64, 65, 130] {
            let mut present = StepSet::default();
            present.set_present(&Column::from_values(vec![1.0; len]));
            assert_eq!(steps(&present, len), (0..len).collect::<Vec<_>>());
            for gap in [0, len / 2, len - 1] {
                let mut values = vec![f64::NAN; len];
                values[gap] = ABSENT;
                present.set_present(&Column::from_values(values));
                assert_eq!(steps(&present, len), (0..len).filter(|&at| at != gap).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn set_algebra() {
        let (a, b) = (set(100, &[1, 70, 99]), set(100, &[2, 70]));
        let with = |change: fn(&mut StepSet, &StepSet)| {
            let mut changed = a.clone();
            change(&mut changed, &b);
            steps(&changed, 100)
        };
        assert_eq!(with(StepSet::add_all), [1, 2, 70, 99]);
        assert_eq!(with(StepSet::keep_common), [70]);
        assert_eq!(with(StepSet::remove_all), [1, 99]);
        assert!(a.meets(&b) && !a.meets(&set(100, &[2, 71])));
        assert!(!a.is_empty() && StepSet::new(100).is_empty());
    }
}
