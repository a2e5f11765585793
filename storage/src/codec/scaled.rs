//! Values as integers: a column of whole numbers or short decimals becomes integers and one decimal scale, exactly, with a
//! list of exceptions for the few values in between that are none (stale markers, other NaNs, negative zero, infinities).

use super::varint::{push_u64, take_usize};
use super::{CHUNK_SAMPLES_MAX, CodecError};

/// Largest decimal scale: fifteen digits after the point.
pub(super) const SCALE_MAX: u8 = 15;

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Exceptions are worth their bytes up to one in this many values.
const VALUES_PER_EXCEPTION: usize = 8;

/// The bit patterns that take one byte as an exception; their place is their kind.
const KINDS: [u64; 5] = [
    model::sample::STALE_NAN_BITS,
    0x7ff8_0000_0000_0000,
    0x8000_0000_0000_0000,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
];
const KIND_OTHER: u8 = 255;

fn power(scale: u8) -> f64 {
    POWERS.get(usize::from(scale)).copied().unwrap_or(f64::NAN)
}

/// The double that integer `number` means at `scale`.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "the encoder takes an integer only if it comes back to the bit")]
fn unscaled(number: i64, power: f64) -> f64 {
    number as f64 / power
}

/// The integer that means `value` at a scale, if it does so to the bit.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "saturates, and what does not come back to the bit is refused")]
fn scaled(value: f64, power: f64) -> Option<i64> {
    let number = (value * power).round() as i64;
    (unscaled(number, power).to_bits() == value.to_bits()).then_some(number)
}

/// What [`scaled`] gives for a power of one, without rounding and dividing: what is cut off shows in the bits.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the bits tell")]
fn whole(value: f64) -> Option<i64> {
    let number = value as i64;
    ((number as f64).to_bits() == value.to_bits()).then_some(number)
}

/// Whether a value can be no integer at any scale though its neighbours may.
fn is_special(value: f64) -> bool {
    !value.is_finite() || value.to_bits() == 0x8000_0000_0000_0000
}

/// A value that the coding of its column leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exception {
    at: usize,
    bits: u64,
}

/// The values of `values` that no coding of numbers likes, if they are few; none if they are many.
pub(super) fn find_exceptions(values: &[f64], into: &mut Vec<Exception>) {
    into.clear();
    let allowed = values.len() / VALUES_PER_EXCEPTION + 1;
    for (at, value) in values.iter().enumerate().filter(|(_, value)| is_special(**value)) {
        if into.len() == allowed {
            into.clear();
            return;
        }
        into.push(Exception { at, bits: value.to_bits() });
    }
}

/// Replaces every exception by the value before it, or the first that is none.
pub(super) fn fill(values: &mut [f64], exceptions: &[Exception]) {
    let mut exception_at = exceptions.iter().map(|exception| exception.at).peekable();
    let first_ordinary = values.iter().copied().find(|value| !is_special(*value)).unwrap_or(0.0);
    let mut filler = first_ordinary;
    for (at, value) in values.iter_mut().enumerate() {
        if exception_at.next_if_eq(&at).is_some() {
            *value = filler;
        }
        filler = *value;
    }
}

/// The smallest scale at which all `values` are integers, with these in `into`.
pub(super) fn find_scale(values: &[f64], into: &mut Vec<i64>) -> Option<u8> {
    // Mostly there are no others.
    into.clear();
    into.extend(values.iter().map_while(|&value| whole(value)));
    if into.len() == values.len() {
        return Some(0);
    }
    let mut scale = 0;
    'rescale: loop {
        into.clear();
        into.reserve(values.len());
        for &value in values {
            if let Some(number) = scaled(value, power(scale)) {
                into.push(number);
                continue;
            }
            // Go on at the first scale that fits this value; larger ones usually fit the values before too.
            scale = (scale + 1..=SCALE_MAX).find(|&larger| scaled(value, power(larger)).is_some())?;
            continue 'rescale;
        }
        return Some(scale);
    }
}

/// Appends the values that `numbers` mean at `scale`.
pub(super) fn push_unscaled(numbers: &[i64], scale: u8, out: &mut Vec<f64>) {
    let power = power(scale);
    out.extend(numbers.iter().map(|&number| unscaled(number, power)));
}

/// Appends the list of exceptions to `out`.
pub(super) fn push_exceptions(exceptions: &[Exception], out: &mut Vec<u8>) {
    push_u64(out, exceptions.len() as u64);
    let mut next = 0;
    for exception in exceptions {
        push_u64(out, (exception.at - next) as u64);
        next = exception.at + 1;
        if let Some((kind, _)) = (0u8..).zip(KINDS).find(|(_, bits)| *bits == exception.bits) {
            out.push(kind);
        } else {
            out.push(KIND_OTHER);
            out.extend_from_slice(&exception.bits.to_le_bytes());
        }
    }
}

/// Takes a list of exceptions among `count` values off the front of `bytes`.
pub(super) fn take_exceptions(bytes: &mut &[u8], count: usize) -> Result<Vec<Exception>, CodecError> {
    let malformed =
        || CodecError::Malformed { coding: "list of exceptions", detail: "it does not end or fit".to_owned() };
    let len = take_usize(bytes, count.min(CHUNK_SAMPLES_MAX)).ok_or_else(malformed)?;
    // Each takes two bytes at least.
    let mut exceptions = Vec::with_capacity(len.min(bytes.len() / 2));
    let mut next = 0;
    for _ in 0..len {
        let at = next + take_usize(bytes, count).ok_or_else(malformed)?;
        if at >= count {
            return Err(malformed());
        }
        let (&kind, rest) = bytes.split_first().ok_or_else(malformed)?;
        *bytes = rest;
        let bits = if kind == KIND_OTHER {
            let (raw, rest) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
            *bytes = rest;
            u64::from_le_bytes(*raw)
        } else {
            *KINDS.get(usize::from(kind)).ok_or_else(malformed)?
        };
        exceptions.push(Exception { at, bits });
        next = at + 1;
    }
    Ok(exceptions)
}

/// Puts the exceptions back in their places; the first of `values` is number `first` of the column.
pub(super) fn put_back(exceptions: &[Exception], first: usize, values: &mut [f64]) {
    for exception in exceptions {
        if let Some(value) = exception.at.checked_sub(first).and_then(|at| values.get_mut(at)) {
            *value = f64::from_bits(exception.bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(value: f64) {
        assert_eq!(whole(value), scaled(value, 1.0), "{value:?}");
    }

    #[test]
    fn a_whole_number_is_what_it_is_at_scale_0() {
        let edges =
            [0.0, 0.5, 1.0, 1.5, 4_503_599_627_370_495.5, 9_007_199_254_740_993.0, 9.3e18, f64::MAX, f64::INFINITY];
        edges.into_iter().chain([2f64.powi(63), f64::NAN, f64::MIN_POSITIVE]).for_each(|value| {
            check(value);
            check(-value);
        });
    }

    proptest! {
        #[test]
        fn any_value_is_what_it_is_at_scale_0(bits: u64, number: i64, quarters: i32) {
            check(f64::from_bits(bits));
            check(unscaled(number, 1.0));
            check(f64::from(quarters) / 4.0);
        }
    }
}
