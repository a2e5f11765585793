//! What the runtime finds leaked from the beginning: goroutines that are parked for good on purpose. They are the same in every process
//! of a revision; only what is more than that is a leak.

use std::collections::BTreeMap;

use crate::go::census::Site;

/// Most sites of one revision.
const SITES_MAX: usize = 256;

/// The least that processes of one revision began with, by site.
#[derive(Debug, Clone, Default)]
pub struct Baseline {
    sites: BTreeMap<Site, u64>,
}

impl Baseline {
    /// The least that a process began with at `site`, now that one began with `first`.
    pub fn least(&mut self, site: &Site, first: u64) -> u64 {
        if let Some(least) = self.sites.get_mut(site) {
            *least = first.min(*least);
            return *least;
        }
        if self.sites.len() < SITES_MAX {
            self.sites.insert(site.clone(), first);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_counts_and_sites_are_bounded() {
        let site = |number: usize| Site { function: format!("main.f{number}"), ..Site::default() };
        let mut baseline = Baseline::default();
        assert_eq!([9, 4, 7].map(|first| baseline.least(&site(0), first)), [9, 4, 4]);
        for number in 0..SITES_MAX * 2 {
            baseline.least(&site(number), 1);
        }
        assert_eq!(baseline.sites.len(), SITES_MAX);
    }
}
