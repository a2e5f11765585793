//! Block files against a map of series.
#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a failed step fails the test; numbers are small")]

mod common;
mod damage;
mod format;
mod full;
mod reads;
