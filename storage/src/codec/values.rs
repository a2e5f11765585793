//! Value columns of blocks: the encoder looks at the column, leaves out what cannot win, and keeps the smallest.
//!
//! Most columns of real metrics are constant or whole numbers, some are short decimals, few are true floats. So:
//! constant; constant step; integers with a decimal scale, packed, by tsz or by pco; floats by pco; XOR, which holds anything.
//! How integers spread decides which of these are worth a trial. `docs/format.md` has the bytes. What third-party codings wrote
//! is decoded again before it is trusted; what our own wrote is not.

use std::ops::Range;

use super::packed::{self, PackedEncoder};
use super::pco_column::{self, Effort};
use super::scaled::{self, Exception, SCALE_MAX};
use super::times::{constant_step, steps};
use super::varint::{push_i64, take_i64};
use super::{CodecError, check_count, tsz, xor};

/// Fewer values than this are not worth the header of a pco chunk.
const PCO_SAMPLES_MIN: usize = 24;

/// In a block that will soon be merged, fewer values than this are not worth pco's time.
const PCO_FAST_SAMPLES_MIN: usize = 96;

/// Above so many values tsz has not been seen to win against the other integer codings.
const SHORT_COLUMN_MAX: usize = 64;

/// More values than this are put into pages, so that reading a few of them decodes few others.
const ONE_PAGE_SAMPLES_MAX: usize = 1024;

/// What pco's header and its verdicts of bins take at least.
const PCO_BYTES_MIN: usize = 14;

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
    // 6 and 7 are histograms and floats with starts.
    Packed = 8,
    // 9 is summaries.
    PcoIntegerPages = 10,
    PcoFloatPages = 11,
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
            8 => Coding::Packed,
            10 => Coding::PcoIntegerPages,
            11 => Coding::PcoFloatPages,
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
            Coding::Packed => "packed integers",
            Coding::PcoIntegerPages => "pco integer pages",
            Coding::PcoFloatPages => "pco float pages",
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
    packed: PackedEncoder,
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
        let integers = scale.and_then(|scale| self.encode_integers(scale, values, effort));
        integers.unwrap_or_else(|| self.encode_floats(values, effort))
    }

    /// Puts the smallest coding of `self.numbers`, which are `values` at `scale`, into `self.best`.
    fn encode_integers(&mut self, scale: u8, values: &[f64], effort: Effort) -> Option<Coding> {
        let numbers = std::mem::take(&mut self.numbers);
        let plan = self.packed.plan(&numbers);
        let mut coding = None;
        if let Some(plan) = plan {
            self.best.push(scale);
            self.packed.encode(&plan, &numbers, &mut self.best);
            coding = Some(Coding::Packed);
        }
        self.numbers = numbers;
        let (fast, order) = (effort == Effort::Fast, plan.map(|plan| plan.order));
        let hopeless = plan.is_some_and(|plan| {
            let wanted_bytes = if fast { plan.entropy_bytes / 4 * 5 } else { plan.entropy_bytes / 8 * 7 };
            self.best.len() <= wanted_bytes + PCO_BYTES_MIN
        });
        let samples_min = if fast && plan.is_some() { PCO_FAST_SAMPLES_MIN } else { PCO_SAMPLES_MIN };
        let paged = values.len() > ONE_PAGE_SAMPLES_MAX;
        let by_pco = if paged { Coding::PcoIntegerPages } else { Coding::PcoIntegers };
        if !hopeless && values.len() >= samples_min && self.try_candidate(by_pco, scale, values, (effort, order)) {
            coding = Some(by_pco);
        }
        let short = !fast && values.len() <= SHORT_COLUMN_MAX;
        if (short || coding.is_none()) && self.try_candidate(Coding::TszIntegers, scale, values, (effort, None)) {
            coding = Some(Coding::TszIntegers);
        }
        coding
    }

    /// Puts the smallest coding of `values` as floats into `self.best`.
    fn encode_floats(&mut self, values: &[f64], effort: Effort) -> Coding {
        self.best.clear();
        xor::encode(values, &mut self.best);
        let samples_min = if effort == Effort::Fast { PCO_FAST_SAMPLES_MIN } else { PCO_SAMPLES_MIN };
        let paged = values.len() > ONE_PAGE_SAMPLES_MAX;
        let by_pco = if paged { Coding::PcoFloatPages } else { Coding::PcoFloats };
        if values.len() >= samples_min && self.try_candidate(by_pco, 0, values, (effort, None)) {
            return by_pco;
        }
        Coding::Xor
    }

    /// Tries one coding of `values`, which are `self.numbers` if it is one of integers; whether it is the best so far.
    fn try_candidate(
        &mut self,
        coding: Coding,
        scale: u8,
        values: &[f64],
        (effort, order): (Effort, Option<u8>),
    ) -> bool {
        self.candidate.clear();
        if !matches!(coding, Coding::PcoFloats | Coding::PcoFloatPages) {
            self.candidate.push(scale);
        }
        let (numbers, out) = (&self.numbers, &mut self.candidate);
        let written = match coding {
            Coding::TszIntegers => tsz::encode(numbers, out),
            Coding::PcoIntegers => pco_column::encode_planned(numbers, effort, order, out),
            Coding::PcoIntegerPages => pco_column::encode_pages(numbers, effort, order, out),
            Coding::PcoFloatPages => pco_column::encode_pages(values, effort, order, out),
            _ => pco_column::encode(values, effort, out),
        };
        written && self.candidate_wins(coding, values)
    }

    /// Takes the candidate if it is smaller than the best and comes back to the bit.
    fn candidate_wins(&mut self, coding: Coding, values: &[f64]) -> bool {
        if !self.best.is_empty() && self.candidate.len() >= self.best.len() {
            return false;
        }
        self.again.clear();
        let decoded = decode_plain(coding, &self.candidate, values.len(), 0..values.len(), &mut self.again);
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
    decode_part(coding, bytes, count, 0..count, out)
}

/// Appends the values `wanted` of a column of `count` to `out`; what is in pages is decoded no further than it must be.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_part(
    coding: ValueCoding,
    bytes: &[u8],
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), CodecError> {
    check_count(count)?;
    if !coding.exceptions {
        return decode_plain(coding.coding, bytes, count, wanted, out);
    }
    let mut rest = bytes;
    let exceptions = scaled::take_exceptions(&mut rest, count)?;
    let (start, first) = (out.len(), wanted.start);
    decode_plain(coding.coding, rest, count, wanted, out)?;
    scaled::put_back(&exceptions, first, out.get_mut(start..).unwrap_or_default());
    Ok(())
}

fn decode_plain(
    coding: Coding,
    bytes: &[u8],
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), CodecError> {
    let start = out.len();
    match coding {
        Coding::Constant => {
            let value = f64::from_bits(take_constant(bytes)?);
            out.extend(std::iter::repeat_n(value, wanted.len()));
            return Ok(());
        }
        Coding::Xor => xor::decode(bytes, count, out)?,
        Coding::PcoFloats => pco_column::decode(bytes, count, out)?,
        Coding::PcoFloatPages => return pco_column::decode_pages(bytes, count, wanted, out),
        _ => return decode_numbers(coding, bytes, count, wanted, out),
    }
    out.truncate(start + wanted.end);
    out.drain(start..start + wanted.start);
    Ok(())
}

fn decode_numbers(
    coding: Coding,
    bytes: &[u8],
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), CodecError> {
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
        Coding::Packed => packed::decode(rest, count, &mut numbers)?,
        Coding::PcoIntegerPages => {
            pco_column::decode_pages(rest, count, wanted, &mut numbers)?;
            scaled::push_unscaled(&numbers, scale, out);
            return Ok(());
        }
        _ => pco_column::decode(rest, count, &mut numbers)?,
    }
    scaled::push_unscaled(numbers.get(wanted).unwrap_or_default(), scale, out);
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
