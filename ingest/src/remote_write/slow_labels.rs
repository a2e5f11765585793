//! Labels that are not sorted, complete and short as senders write them, and what is wrong with those that are none.

#![warn(clippy::indexing_slicing)]

use model::{LabelError, LabelLimits, LabelsBuilder, LabelsRef};

use crate::limits::IngestLimits;
use crate::rejected::Reason;

/// Most labels of one series that are read, empty ones and duplicates included.
pub(crate) const SERIES_LABELS_MAX: usize = 1024;

/// Gathers labels that the packer did not take, to find what is wrong with them, if anything. References make labels of
/// any length cheap to send, so that lengths are looked at before texts are.
pub(super) struct SlowLabels<'l> {
    builder: &'l mut LabelsBuilder,
    limits: &'l LabelLimits,
    found: usize,
    /// Bytes of names and values so far.
    bytes: usize,
    problem: Option<(Reason, String)>,
}

impl<'l> SlowLabels<'l> {
    pub(super) fn new(builder: &'l mut LabelsBuilder, limits: &'l IngestLimits) -> Self {
        builder.clear();
        Self { builder, limits: &limits.labels, found: 0, bytes: 0, problem: None }
    }

    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.found += 1;
        if self.problem.is_some() || self.found > SERIES_LABELS_MAX {
            return;
        }
        if let Some(error) = self.too_long(name, value) {
            return self.fail(label_reason(&error), || error.to_string());
        }
        match (std::str::from_utf8(name), std::str::from_utf8(value)) {
            (Ok(name), Ok(value)) => self.builder.push(name, value),
            _ => self.fail(Reason::BadLabels, || format!("label {:?} is not UTF-8", shown(name))),
        }
    }

    /// The error of a label that is too long, or with which the set is.
    fn too_long(&mut self, name: &[u8], value: &[u8]) -> Option<LabelError> {
        let LabelLimits { name_bytes_max, value_bytes_max, set_bytes_max, .. } = *self.limits;
        if name.len() > name_bytes_max {
            let prefix = shown(name).chars().take(32).collect();
            return Some(LabelError::NameTooLong { prefix, found_bytes: name.len(), limit_bytes: name_bytes_max });
        }
        if value.len() > value_bytes_max {
            let (name, found_bytes) = (shown(name), value.len());
            return Some(LabelError::ValueTooLong { name, found_bytes, limit_bytes: value_bytes_max });
        }
        // Labels with an empty value are left out.
        self.bytes += if value.is_empty() { 0 } else { name.len() + value.len() };
        let (found_bytes, limit_bytes) = (self.bytes, set_bytes_max);
        (found_bytes > limit_bytes).then_some(LabelError::SetTooLong { found_bytes, limit_bytes })
    }

    /// Says that the labels are none, unless that was said before.
    pub(super) fn fail(&mut self, reason: Reason, problem: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(|| (reason, problem()));
    }

    /// The labels, or why they are none.
    pub(super) fn finish(self) -> Result<LabelsRef<'l>, (Reason, String)> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if self.found > SERIES_LABELS_MAX {
            let too_many = LabelError::TooMany { found: self.found, limit: SERIES_LABELS_MAX };
            return Err((label_reason(&too_many), too_many.to_string()));
        }
        self.builder.pack(self.limits).map_err(|error| (label_reason(&error), error.to_string()))
    }
}

/// The reason a label set is refused for.
pub(crate) fn label_reason(error: &LabelError) -> Reason {
    match error {
        LabelError::EmptyName | LabelError::Duplicate { .. } | LabelError::Damaged { .. } => Reason::BadLabels,
        _ => Reason::LabelLimit,
    }
}

/// The start of a text that may not be UTF-8, for an error.
pub(super) fn shown(text: &[u8]) -> String {
    let start = text.get(..512).unwrap_or(text);
    String::from_utf8_lossy(start).chars().take(128).collect()
}
