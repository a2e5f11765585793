//! Makes one block of several, series by series, with the newest value where two have the same timestamp.

use model::{Samples, TimeRange};

use super::directory::{SeriesCursor, SeriesEntry};
use super::overlay::{Mark, Scratch};
use super::{BlockError, BlockReader, BlockSummary, BlockWriter};
use crate::damage::Damage;

/// What becomes of each series in a merge, and whether to go on.
pub trait MergePlan {
    /// The time range of series `series_id` that is kept; `None` drops the series unread.
    fn keep(&mut self, series_id: u64) -> Option<TimeRange> {
        let _ = series_id;
        Some(TimeRange::ALL)
    }

    /// Cuts the merged samples of a series further. What is left stays ascending and unique; nothing left drops the series.
    fn edit(&mut self, series_id: u64, samples: &mut Samples) {
        let _ = (series_id, samples);
    }

    /// Told of a damaged chunk: true leaves it out and goes on with the rest, false ends the merge with an error.
    fn leave_out(&mut self, damage: Damage) -> bool {
        let _ = damage;
        false
    }

    /// Asked before each series; false stops the merge without a trace.
    fn go_on(&mut self) -> bool {
        true
    }
}

/// Keeps everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAll;

impl MergePlan for KeepAll {}

/// Merges `inputs`, of one partition and ordered from old to new, into `writer`. Holds the samples of one series at a
/// time. `None` if nothing was kept; then there is no file.
///
/// # Errors
///
/// When an input is damaged and the plan does not leave that out, the file cannot be written, or the plan stopped.
pub fn merge(
    inputs: &[&BlockReader],
    plan: &mut dyn MergePlan,
    mut writer: BlockWriter,
) -> Result<Option<BlockSummary>, BlockError> {
    let mut heads = Vec::with_capacity(inputs.len());
    for &input in inputs {
        let mut head = Head { input, cursor: input.entries(), entry: SeriesEntry::default(), at_end: false };
        head.advance()?;
        heads.push(head);
    }
    let (mut merged, mut scratch) = (Samples::default(), Scratch::default());
    while let Some(id) = heads.iter().filter(|head| !head.at_end).map(|head| head.entry.id).min() {
        if !plan.go_on() {
            return Err(BlockError::Stopped);
        }
        let range = plan.keep(id);
        merged.clear();
        for head in heads.iter_mut().filter(|head| !head.at_end && head.entry.id == id) {
            if let Some(range) = range {
                let before = Mark::of(&merged);
                head.input.read_sound(&head.entry, range, &mut merged, &mut |damage| {
                    if plan.leave_out(damage.clone()) { Ok(()) } else { Err(BlockError::Damaged(damage)) }
                })?;
                before.settle(&mut merged, &mut scratch);
            }
            head.advance()?;
        }
        plan.edit(id, &mut merged);
        writer.add_series(id, &merged)?;
    }
    if writer.series() == 0 {
        return Ok(None);
    }
    writer.finish().map(Some)
}

/// An input and the series that comes next in it.
struct Head<'a> {
    input: &'a BlockReader,
    cursor: SeriesCursor<'a>,
    entry: SeriesEntry,
    at_end: bool,
}

impl Head<'_> {
    fn advance(&mut self) -> Result<(), BlockError> {
        let more = self.cursor.next_into(&mut self.entry).map_err(|fault| self.input.damaged(fault))?;
        self.at_end = !more;
        Ok(())
    }
}
