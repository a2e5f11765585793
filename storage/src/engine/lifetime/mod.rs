//! How long what is kept: rules by selector, summaries of what is too old to be kept sample by sample, a disk limit.
//!
//! - [`rules`]: which rule a series falls under, and its borders at one moment.
//! - [`late`]: samples older than their rule keeps samples are refused; [`untold`]: so are those that a summary would hide.
//! - [`upkeep`] decides for each partition that is over what is to be done, [`make`] writes summaries, [`drop_raw`]
//!   removes samples that they stand for. Samples go only after their summaries are in the catalog, and only while
//!   nothing the head holds may still change them.
//! - [`disk`]: the oldest samples go when the folder is larger than it may be.
//! - [`forget`]: what deletes take of summaries.
//! - [`shown`]: what a selection shows of both, [`outdated`] where samples came after their summaries, [`gone`] where samples are
//!   gone before their time; [`explain`]: what is kept of which series, for people.

mod disk;
mod drop_raw;
mod explain;
mod forget;
mod gone;
mod late;
mod make;
mod outdated;
mod rules;
mod shown;
mod untold;
mod upkeep;

use roaring::RoaringBitmap;

use super::Core;
use crate::damage::Damage;

pub use explain::{KeptSeries, KeptStep, RetentionReport};
pub(super) use rules::Lifetimes;
pub use rules::{LifetimeRule, LifetimeStep};
pub(super) use shown::{ShowError, Shown, Wanted};
pub(super) use upkeep::Upkeep;

impl Core {
    /// From when on anything is kept by each rule, in their order.
    pub(super) fn lifetime_starts(&self) -> Vec<i64> {
        self.lifetimes.at(self.clock.now().0).iter().map(rules::Life::start_ms).collect()
    }

    /// From when on anything is kept of each of `ids`.
    pub(super) fn lifetime_starts_of(&self, ids: &RoaringBitmap) -> Result<impl Fn(u64) -> i64 + use<>, Damage> {
        let starts = self.lifetime_starts();
        let parts = if self.lifetimes.is_plain() { Vec::new() } else { self.lifetimes.split(ids, &self.series)? };
        Ok(move |id| {
            let rule = parts.iter().position(|part| u32::try_from(id).is_ok_and(|id| part.contains(id)));
            starts[rule.unwrap_or(starts.len() - 1)]
        })
    }
}
