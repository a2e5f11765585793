//! Timestamp columns of blocks: ascending milliseconds, often at a constant step, often with some jitter.
//!
//! The encoder tries what may pay and keeps the smallest; `docs/format.md` has the bytes. What third-party codings
//! wrote is decoded again before it is trusted.

use super::bits::{BitReader, BitWriter};
use super::gorilla::TimeState;
use super::pco_column::{self, Effort};
use super::varint::{push_i64, take_i64};
use super::{CodecError, check_count, tsz};

/// Fewer timestamps than this are not worth the header of a pco chunk.
const PCO_SAMPLES_MIN: usize = 24;

/// How a timestamp column is coded; the number is the tag in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TimeCoding {
    /// First timestamp and step.
    ConstantStep = 0,
    /// Deltas by tsz-compress.
    Tsz = 1,
    /// Integers by pco.
    Pco = 2,
    /// Changes of the delta in bits, as in the head.
    DeltaOfDelta = 3,
}

impl TimeCoding {
    /// The coding of a tag.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn from_tag(tag: u8) -> Result<Self, CodecError> {
        Ok(match tag {
            0 => Self::ConstantStep,
            1 => Self::Tsz,
            2 => Self::Pco,
            3 => Self::DeltaOfDelta,
            _ => return Err(CodecError::UnknownCoding { tag }),
        })
    }

    /// The tag in files.
    pub fn tag(self) -> u8 {
        self as u8
    }
}

/// Appends `timestamps_ms` to `out` in the smallest coding. Any order and any values work; an empty column takes no bytes.
pub fn encode(timestamps_ms: &[i64], effort: Effort, out: &mut Vec<u8>) -> TimeCoding {
    if let Some((first, step)) = constant_step(timestamps_ms) {
        push_i64(out, first);
        push_i64(out, step);
        return TimeCoding::ConstantStep;
    }
    let start = out.len();
    encode_bits(timestamps_ms, out);
    let mut best = TimeCoding::DeltaOfDelta;
    let mut candidate = Vec::new();
    for coding in [TimeCoding::Tsz, TimeCoding::Pco] {
        candidate.clear();
        let written = match coding {
            TimeCoding::Tsz => tsz::encode(timestamps_ms, &mut candidate),
            _ => timestamps_ms.len() >= PCO_SAMPLES_MIN && pco_column::encode(timestamps_ms, effort, &mut candidate),
        };
        let mut again = Vec::new();
        if written
            && candidate.len() < out.len() - start
            && decode(coding, &candidate, timestamps_ms.len(), &mut again).is_ok()
            && again == timestamps_ms
        {
            out.truncate(start);
            out.extend_from_slice(&candidate);
            best = coding;
        }
    }
    best
}

/// Appends `count` timestamps to `out`.
///
/// # Errors
///
/// When `count` is above the limit or the bytes are not of that coding; `out` may then hold some more timestamps.
pub fn decode(coding: TimeCoding, bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    check_count(count)?;
    match coding {
        TimeCoding::ConstantStep => {
            let mut rest = bytes;
            let truncated = || CodecError::Truncated { coding: "constant step", at: 0, count };
            let first = take_i64(&mut rest).ok_or_else(truncated)?;
            let step = take_i64(&mut rest).ok_or_else(truncated)?;
            out.extend(steps(first, step, count));
            Ok(())
        }
        TimeCoding::Tsz => tsz::decode(bytes, count, out),
        TimeCoding::Pco => pco_column::decode(bytes, count, out),
        TimeCoding::DeltaOfDelta => decode_bits(bytes, count, out),
    }
}

/// The numbers `first`, `first + step`, … wrapping around.
pub(super) fn steps(first: i64, step: i64, count: usize) -> impl Iterator<Item = i64> {
    std::iter::successors(Some(first), move |previous| Some(previous.wrapping_add(step))).take(count)
}

/// First number and step, if the step is the same all along. One number has step 0, none is 0 at step 0.
pub(super) fn constant_step(numbers: &[i64]) -> Option<(i64, i64)> {
    let (first, step) = match *numbers {
        [] => (0, 0),
        [first] => (first, 0),
        [first, second, ..] => (first, second.wrapping_sub(first)),
    };
    let same = |pair: &[i64]| matches!(*pair, [a, b] if b.wrapping_sub(a) == step);
    numbers.windows(2).all(same).then_some((first, step))
}

fn encode_bits(timestamps_ms: &[i64], out: &mut Vec<u8>) {
    let Some((&first, rest)) = timestamps_ms.split_first() else { return };
    let mut writer = BitWriter::new();
    let mut state = TimeState::default();
    state.push_first(&mut writer, first);
    for &timestamp_ms in rest {
        state.push(&mut writer, timestamp_ms);
    }
    writer.copy_into(out);
}

fn decode_bits(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    let mut reader = BitReader::new(bytes);
    let mut state = TimeState::default();
    out.reserve(count);
    for at in 0..count {
        let timestamp_ms = if at == 0 { state.read_first(&mut reader) } else { state.read(&mut reader) };
        let truncated = CodecError::Truncated { coding: "delta of delta", at, count };
        out.push(timestamp_ms.ok_or(truncated)?);
    }
    Ok(())
}
