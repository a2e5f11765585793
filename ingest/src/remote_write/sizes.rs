//! Limits on what one request may hold.

#![warn(clippy::indexing_slicing)]

use model::WriteBatch;

use crate::error::IngestError;
use crate::limits::IngestLimits;

/// The error when `batch` holds more than one request may.
#[inline]
pub(crate) fn check_sizes(limits: &IngestLimits, batch: &WriteBatch) -> Result<(), IngestError> {
    check_series(limits, batch.series_len())?;
    let limit = limits.label_bytes_per_request_max;
    check(batch.label_bytes(), limit, "bytes of labels", "label_bytes_per_request_max")?;
    check_samples(limits, batch.samples_len())
}

/// Whether `batch` has room for one more series, of one sample, with so many bytes of labels.
#[inline]
pub(super) fn has_room(limits: &IngestLimits, batch: &WriteBatch, label_bytes: usize) -> bool {
    batch.series_len() < limits.series_per_request_max
        && batch.samples_len() < limits.samples_per_request_max
        && batch.label_bytes() + label_bytes <= limits.label_bytes_per_request_max
}

#[inline]
pub(super) fn check_series(limits: &IngestLimits, found: usize) -> Result<(), IngestError> {
    check(found, limits.series_per_request_max, "series", "series_per_request_max")
}

#[inline]
pub(super) fn check_samples(limits: &IngestLimits, found: usize) -> Result<(), IngestError> {
    check(found, limits.samples_per_request_max, "samples", "samples_per_request_max")
}

/// The error when `found` is above `limit`; there may be more behind what was looked at.
#[inline]
pub(crate) fn check(
    found: usize,
    limit: usize,
    what: &'static str,
    limit_name: &'static str,
) -> Result<(), IngestError> {
    if found <= limit { Ok(()) } else { Err(limit_passed(found, limit, what, limit_name)) }
}

#[cold]
fn limit_passed(found: usize, limit: usize, what: &'static str, limit_name: &'static str) -> IngestError {
    IngestError::Limit { what, found: format!("{found} or more"), limit_name, limit }
}
