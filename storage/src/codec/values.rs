//! Value columns of blocks: the encoder looks at the column, leaves out what cannot win, and keeps the smallest.
//!
//! Most columns of real metrics are constant or whole numbers, some are short decimals, few are true floats. So:
//! constant; constant step; integers with a decimal scale by tsz or pco; floats by pco; XOR, which is our own and holds anything.
//! `docs/format.md` has the bytes. What third-party codings wrote is decoded again before it is trusted.

use super::pco_column::{self, Effort};
use super::scaled::{self, Exception, SCALE_MAX};
use super::times::{constant_step, steps};
use super::varint::{push_i64, take_i64};
use super::{CodecError, check_count, tsz, xor};

/// Fewer values than this are not worth the header of a pco chunk.
const PCO_SAMPLES_MIN: usize = 24;

/// Above so many values XOR has not been seen to win against the integer codings.
const XOR_INTEGERS_MAX: usize = 256;

/// The bit of a chunk's tag that says exceptions come first.
pub const EXCEPTIONS_BIT: u8 = 0x10;

/// How a value column is coded; the number is the tag in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Coding {
    Constant = 0,
    ConstantStep = 1,
    TszIntegers = 2,
    Xor = 3,
    PcoIntegers = 4,
    PcoFloats = 5,
}

/// The tag of a value chunk: coding in the low four bits, [`EXCEPTIONS_BIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueCoding {
    coding: Coding,
    exceptions: bool,
}

impl ValueCoding {
    /// The coding of the low five bits of a tag.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn from_tag(tag: u8) -> Result<Self, CodecError> {
        let coding = match tag & 0xf {
            0 => Coding::Constant,
            1 => Coding::ConstantStep,
            2 => Coding::TszIntegers,
            3 => Coding::Xor,
            4 => Coding::PcoIntegers,
            5 => Coding::PcoFloats,
            _ => return Err(CodecError::UnknownCoding { tag }),
        };
        Ok(Self { coding, exceptions: tag & EXCEPTIONS_BIT != 0 })
    }

    /// The tag in files, five bits.
    pub fn tag(self) -> u8 {
        self.coding as u8 | if self.exceptions { EXCEPTIONS_BIT } else { 0 }
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self.coding {
            Coding::Constant => "constant",
            Coding::ConstantStep => "constant step",
            Coding::TszIntegers => "tsz integers",
            Coding::Xor => "XOR",
            Coding::PcoIntegers => "pco integers",
            Coding::PcoFloats => "pco floats",
        }
    }
}

/// Encodes value columns; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub struct ValueEncoder {
    exceptions: Vec<Exception>,
    filled: Vec<f64>,
    numbers: Vec<i64>,
    best: Vec<u8>,
    candidate: Vec<u8>,
    again: Vec<f64>,
}

impl ValueEncoder {
    /// An encoder without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `values`, at most [`CHUNK_SAMPLES_MAX`](super::CHUNK_SAMPLES_MAX), to `out` in the smallest coding.
    pub fn encode(&mut self, values: &[f64], effort: Effort, out: &mut Vec<u8>) -> ValueCoding {
        if let Some(bits) = constant(values) {
            push_constant(bits, out);
            return ValueCoding { coding: Coding::Constant, exceptions: false };
        }
        scaled::find_exceptions(values, &mut self.exceptions);
        let exceptions = !self.exceptions.is_empty();
        let mut filled = std::mem::take(&mut self.filled);
        filled.clear();
        filled.extend_from_slice(values);
        if exceptions {
            scaled::fill(&mut filled, &self.exceptions);
            scaled::push_exceptions(&self.exceptions, out);
        }
        let coding = self.encode_filled(&filled, effort);
        out.extend_from_slice(&self.best);
        self.filled = filled;
        ValueCoding { coding, exceptions }
    }

    /// Puts the smallest coding of `values` into `self.best`.
    fn encode_filled(&mut self, values: &[f64], effort: Effort) -> Coding {
        self.best.clear();
        if let Some(bits) = constant(values) {
            push_constant(bits, &mut self.best);
            return Coding::Constant;
        }
        let scale = scaled::find_scale(values, &mut self.numbers);
        if let Some(scale) = scale
            && let Some((first, step)) = constant_step(&self.numbers)
        {
            self.best.push(scale);
            push_i64(&mut self.best, first);
            push_i64(&mut self.best, step);
            return Coding::ConstantStep;
        }
        let mut coding = None;
        let candidates: &[Coding] =
            if scale.is_some() { &[Coding::TszIntegers, Coding::PcoIntegers] } else { &[Coding::PcoFloats] };
        for &candidate in candidates {
            if self.try_candidate(candidate, scale.unwrap_or(0), values, effort) {
                coding = Some(candidate);
            }
        }
        if coding.is_none() || scale.is_none() || values.len() <= XOR_INTEGERS_MAX {
            self.candidate.clear();
            xor::encode(values, &mut self.candidate);
            if coding.is_none() || self.candidate.len() < self.best.len() {
                std::mem::swap(&mut self.best, &mut self.candidate);
                return Coding::Xor;
            }
        }
        coding.unwrap_or(Coding::Xor)
    }

    /// Tries one coding of `values`, which are `self.numbers` if it is one of integers; whether it is the best so far.
    fn try_candidate(&mut self, coding: Coding, scale: u8, values: &[f64], effort: Effort) -> bool {
        let pays = values.len() >= PCO_SAMPLES_MIN;
        self.candidate.clear();
        if coding != Coding::PcoFloats {
            self.candidate.push(scale);
        }
        let written = match coding {
            Coding::TszIntegers => tsz::encode(&self.numbers, &mut self.candidate),
            Coding::PcoIntegers => pays && pco_column::encode(&self.numbers, effort, &mut self.candidate),
            _ => pays && pco_column::encode(values, effort, &mut self.candidate),
        };
        written && self.candidate_wins(coding, values)
    }

    /// Takes the candidate if it is smaller than the best and comes back to the bit.
    fn candidate_wins(&mut self, coding: Coding, values: &[f64]) -> bool {
        if !self.best.is_empty() && self.candidate.len() >= self.best.len() {
            return false;
        }
        self.again.clear();
        let decoded = decode_plain(coding, &self.candidate, values.len(), &mut self.again);
        let same = decoded.is_ok() && self.again.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits()));
        if same {
            std::mem::swap(&mut self.best, &mut self.candidate);
        }
        same
    }
}

/// Appends `count` values to `out`.
///
/// # Errors
///
/// When `count` is above the limit or the bytes are not of that coding; `out` may then hold some more values.
pub fn decode(coding: ValueCoding, bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    check_count(count)?;
    if !coding.exceptions {
        return decode_plain(coding.coding, bytes, count, out);
    }
    let mut rest = bytes;
    let exceptions = scaled::take_exceptions(&mut rest, count)?;
    let start = out.len();
    decode_plain(coding.coding, rest, count, out)?;
    scaled::put_back(&exceptions, out.get_mut(start..).unwrap_or_default());
    Ok(())
}

fn decode_plain(coding: Coding, bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    match coding {
        Coding::Constant => {
            let value = f64::from_bits(take_constant(bytes)?);
            out.extend(std::iter::repeat_n(value, count));
            Ok(())
        }
        Coding::Xor => xor::decode(bytes, count, out),
        Coding::PcoFloats => pco_column::decode(bytes, count, out),
        Coding::ConstantStep | Coding::TszIntegers | Coding::PcoIntegers => decode_numbers(coding, bytes, count, out),
    }
}

fn decode_numbers(coding: Coding, bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let malformed = |detail: &str| CodecError::Malformed { coding: "scaled integers", detail: detail.to_owned() };
    let (&scale, mut rest) = bytes.split_first().ok_or_else(|| malformed("no scale"))?;
    if scale > SCALE_MAX {
        return Err(malformed("scale above 15"));
    }
    let mut numbers = Vec::new();
    match coding {
        Coding::ConstantStep => {
            let first = take_i64(&mut rest).ok_or_else(|| malformed("no first integer"))?;
            let step = take_i64(&mut rest).ok_or_else(|| malformed("no step"))?;
            numbers.extend(steps(first, step, count));
        }
        Coding::TszIntegers => tsz::decode(rest, count, &mut numbers)?,
        _ => pco_column::decode(rest, count, &mut numbers)?,
    }
    scaled::push_unscaled(&numbers, scale, out);
    Ok(())
}

/// The bits that all values share. No values share zero.
fn constant(values: &[f64]) -> Option<u64> {
    let first = values.first().map_or(0, |value| value.to_bits());
    values.iter().all(|value| value.to_bits() == first).then_some(first)
}

fn push_constant(bits: u64, out: &mut Vec<u8>) {
    let len = 8 - bits.trailing_zeros().min(64) as usize / 8;
    out.extend(bits.to_be_bytes().iter().take(len));
}

fn take_constant(bytes: &[u8]) -> Result<u64, CodecError> {
    if bytes.len() > 8 {
        return Err(CodecError::Malformed { coding: "constant", detail: format!("{} bytes", bytes.len()) });
    }
    let mut whole = [0; 8];
    whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Ok(u64::from_be_bytes(whole))
}
