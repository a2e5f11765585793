//! What a computation over histograms met that its user should know of.
//!
//! The evaluator makes annotations of these: it knows the metric, the place in the query and the operation.

/// One thing met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Finding {
    /// Warning: a gauge where counters are expected.
    NotCounter,
    /// Warning: not a gauge where gauges are expected.
    NotGauge,
    /// Warning: exponential and custom buckets, which do not combine; there is no result.
    MixedKinds,
    /// Warning: a counter began before the sample before, but not with it.
    StartsOverlap,
    /// Info: custom buckets of different bounds were subtracted within the bounds they share.
    BoundsReconciledSubtracting,
    /// Info: custom buckets of different bounds were added within the bounds they share.
    BoundsReconciledAdding,
}

impl Finding {
    const ALL: [Self; 6] = [
        Self::NotCounter,
        Self::NotGauge,
        Self::MixedKinds,
        Self::StartsOverlap,
        Self::BoundsReconciledSubtracting,
        Self::BoundsReconciledAdding,
    ];
}

/// A set of things met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Findings(u8);

impl Findings {
    /// Adds one.
    pub(crate) fn add(&mut self, finding: Finding) {
        self.0 |= 1 << finding as u8;
    }

    /// Whether one is in it.
    pub(crate) fn has(self, finding: Finding) -> bool {
        self.0 & 1 << finding as u8 != 0
    }

    /// All that are in it.
    pub(crate) fn iter(self) -> impl Iterator<Item = Finding> {
        Finding::ALL.into_iter().filter(move |&finding| self.has(finding))
    }

    /// Forgets what was met: there is no result because of `finding`, which is all there is to tell.
    pub(super) fn only(&mut self, finding: Finding) {
        *self = Self::default();
        self.add(finding);
    }
}

impl FromIterator<Finding> for Findings {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Self {
        let mut set = Self::default();
        findings.into_iter().for_each(|finding| set.add(finding));
        set
    }
}
