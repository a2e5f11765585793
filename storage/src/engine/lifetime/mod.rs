//! How long what is kept: rules by selector, summaries of what is too old to be kept sample by sample, a disk limit.
//!
//! - [`rules`]: which rule a series falls under, and its borders at one moment.
//! - [`late`]: samples older than their rule keeps samples are refused.
//! - [`upkeep`] decides for each partition that is over what is to be done, [`make`] writes summaries, [`drop_raw`]
//!   removes samples that they stand for. Samples go only after their summaries are in the catalog, and only while
//!   nothing the head holds may still change them.
//! - [`disk`]: the oldest samples go when the folder is larger than it may be.
//! - [`forget`]: what deletes take of summaries.
//! - [`shown`]: what a selection shows of both, [`outdated`] where samples came after their summaries; [`explain`]: what is kept of which series, for people.

mod disk;
mod drop_raw;
mod explain;
mod forget;
mod late;
mod make;
mod outdated;
mod rules;
mod shown;
mod upkeep;

use super::Core;
use crate::ids::SeriesId;

pub use explain::{KeptSeries, KeptStep, RetentionReport};
pub(super) use rules::Lifetimes;
pub use rules::{LifetimeRule, LifetimeStep};
pub(super) use shown::{ShowError, Shown, Wanted};
pub(super) use upkeep::Upkeep;

impl Core {
    /// From when on anything is kept of a series.
    pub(super) fn lifetime_starts(&self) -> impl Fn(u64) -> i64 {
        let starts: Vec<i64> = self.lifetimes.at(self.clock.now().0).iter().map(rules::Life::start_ms).collect();
        move |id| {
            let rule = u32::try_from(id).map_or(starts.len() - 1, |id| self.lifetimes.of(SeriesId(id), &self.table));
            starts[rule]
        }
    }
}
