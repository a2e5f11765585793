//! Floats of blocks whose counters have a known start: the values as ever, and a column of starts before them.

use super::histogram_column::{push_starts, take_starts};
use super::values::{self, ValueCoding, ValueEncoder};
use super::{CodecError, Effort};

/// The value coding of a chunk of floats with starts in files.
pub const TAG: u8 = 7;

/// Appends `values` and the start of each, 0 for unknown, to `out`.
pub fn encode(encoder: &mut ValueEncoder, values: &[f64], starts_ms: &[i64], effort: Effort, out: &mut Vec<u8>) {
    debug_assert_eq!(values.len(), starts_ms.len(), "columns of one table");
    let mut part = Vec::new();
    push_starts(starts_ms, effort, &mut part, out);
    part.clear();
    let coding = encoder.encode(values, effort, &mut part);
    out.push(coding.tag());
    out.extend_from_slice(&part);
}

/// Appends `count` values to `values` and returns as many starts.
///
/// # Errors
///
/// When `count` is above the limit or the bytes are not of that coding; `values` may then hold some more.
pub fn decode(bytes: &[u8], count: usize, values: &mut Vec<f64>) -> Result<Vec<i64>, CodecError> {
    let mut rest = bytes;
    let starts_ms = take_starts(&mut rest, count)?;
    let (&tag, column) =
        rest.split_first().ok_or(CodecError::Truncated { coding: "floats with starts", at: 0, count })?;
    values::decode(ValueCoding::from_tag(tag)?, column, count, values)?;
    Ok(starts_ms)
}
