//! What the ladder can be told: windows, thresholds, bounds.

use super::allow::AllowList;

/// Windows and thresholds of the ladder.
#[derive(Debug, Clone)]
pub struct LeakOptions {
    /// Length of the shortest windows, in milliseconds. Floors are taken of windows 1, 4, 16 and 64 times as long.
    pub window_ms: i64,
    /// How many times in a row a floor must have risen. Where nothing tells that goroutines are stuck, twice as often.
    pub rises: usize,
    /// Least growth over these windows, in goroutines.
    pub growth_min: u64,
    /// Least growth over these windows, in percent of what there was.
    pub growth_percent: u64,
    /// For how long a goroutine must have been blocked to count as blocked for long, in milliseconds. Censuses are asked for it.
    pub blocked_ms: u64,
    /// Most sites of one process that are followed; those with the most goroutines stay.
    pub sites_max: usize,
    /// Most sites of one process that are told.
    pub told_max: usize,
    /// Sites that are not judged.
    pub allow: AllowList,
}

/// Windows that are kept of each length.
pub const WINDOWS_KEPT: usize = 20;
/// Most rises in a row that can be asked for: what needs the most of them needs three times as many, which windows must be kept for.
pub const RISES_MAX: usize = 6;

impl Default for LeakOptions {
    fn default() -> Self {
        Self {
            window_ms: 300_000,
            rises: 4,
            growth_min: 10,
            growth_percent: 5,
            blocked_ms: 3_600_000,
            sites_max: 128,
            told_max: 10,
            allow: AllowList::default(),
        }
    }
}

impl LeakOptions {
    /// Least growth that counts, from `base` goroutines on.
    pub fn growth_needed(&self, base: u64) -> u64 {
        self.growth_min.max(base.saturating_mul(self.growth_percent).div_ceil(100))
    }

    /// Before this age of the process nothing is judged: it warms up. In milliseconds.
    pub fn warm_up_ms(&self) -> i64 {
        self.window_ms.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_ten_or_five_percent() {
        let options = LeakOptions::default();
        assert_eq!([0, 100, 200, 201, 10_000].map(|base| options.growth_needed(base)), [10, 10, 10, 11, 500]);
        assert!(RISES_MAX * 3 < WINDOWS_KEPT && options.rises <= RISES_MAX);
    }
}
