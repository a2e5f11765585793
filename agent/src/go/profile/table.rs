//! Numbers by function of the program, told by heap, mutex and block profiles.

use std::collections::BTreeMap;

use super::census::NAMELESS;
use super::model::{Frame, Profile};
use crate::go::sites::{allocation_site, contention_site};

/// What is added up by function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Bytes of live objects.
    HeapInuseBytes,
    /// Bytes allocated since the program started.
    HeapAllocsBytes,
    /// Time that others waited for mutexes that the function held, in a mutex profile, in nanoseconds.
    MutexWaitNs,
    /// Time that the function was blocked, in a block profile, in nanoseconds.
    BlockWaitNs,
}

impl Quantity {
    /// Kind of the values of samples.
    const fn kind(self) -> &'static str {
        match self {
            Self::HeapInuseBytes => "inuse_space",
            Self::HeapAllocsBytes => "alloc_space",
            Self::MutexWaitNs | Self::BlockWaitNs => "delay",
        }
    }
}

/// `quantity` by the function whose doing it is; nothing when the profile is of something else.
///
/// Functions are chosen as in [`allocation_site`] and [`contention_site`].
#[expect(clippy::cast_precision_loss, reason = "samples are floats; values above 2^53 lose their last bits")]
pub fn by_function(profile: &Profile, quantity: Quantity) -> Option<BTreeMap<String, f64>> {
    let index = profile.value_index(quantity.kind())?;
    let mut all: BTreeMap<String, f64> = BTreeMap::new();
    for sample in &profile.samples {
        let value = sample.values.get(index).copied().unwrap_or(0);
        if value <= 0 {
            continue;
        }
        let functions = profile.frames(sample).map(|frame: Frame<'_>| frame.function).filter(|name| !name.is_empty());
        let site = match quantity {
            Quantity::HeapInuseBytes | Quantity::HeapAllocsBytes => allocation_site(functions),
            Quantity::MutexWaitNs | Quantity::BlockWaitNs => contention_site(functions),
        };
        let site = site.unwrap_or(NAMELESS);
        if let Some(sum) = all.get_mut(site) {
            *sum += value as f64;
        } else {
            all.insert(site.to_owned(), value as f64);
        }
    }
    Some(all)
}
