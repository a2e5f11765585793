//! Exemplars: single observations kept as examples of a series, mostly with the id of a trace.

use crate::labels::{Labels, LabelsRef};

/// Most characters of the names and values of an exemplar's labels together (OpenMetrics).
pub const EXEMPLAR_LABEL_CHARS_MAX: usize = 128;

/// One observation.
#[derive(Debug, Clone)]
pub struct Exemplar {
    /// What identifies it, for example `trace_id`.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// The characters of the names and values of `labels` together.
pub fn label_chars(labels: LabelsRef<'_>) -> usize {
    labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum()
}

/// Equality is bitwise.
impl PartialEq for Exemplar {
    fn eq(&self, other: &Self) -> bool {
        self.labels == other.labels
            && self.value.to_bits() == other.value.to_bits()
            && self.timestamp_ms == other.timestamp_ms
    }
}

impl Eq for Exemplar {}
