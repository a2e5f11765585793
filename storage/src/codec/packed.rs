//! Integer columns in as many bits each as most of them need: our own coding, for what is short, sparse or noisy.
//!
//! Numbers, their changes, or the changes of these become residuals from a base, in multiples of a common factor. Each
//! takes the same number of bits; what needs more is patched by a list, after "Super-Scalar RAM-CPU Cache Compression"
//! (Zukowski et al., ICDE 2006). A column that seldom changes has no bits but patches, one for each change.
//! A plan looks at the column once and tells what it will take, and what a coder of entropies might, so that
//! the choice between both needs no trial.

use super::bits::{BitReader, BitSink, BitWriter};
use super::varint::{push_i64, push_u64, take_i64, take_u64, take_usize, unzigzag, zigzag};
use super::{CodecError, check_count};

/// The name in errors.
const CODING: &str = "packed integers";

/// Numbers up to here have second differences that fit 64 bits.
const NUMBER_MAX: u64 = 1 << 60;

/// Widest residual that is packed; wider ones are patched.
const WIDTH_MAX: u8 = 56;

/// The bit of the first byte that says residuals are zigzag-folded; below it is the order.
const SIGNED_BIT: u8 = 4;
const ORDER_MAX: u8 = 2;

/// How many residuals have each length in bits.
type Lengths = [u32; 65];

/// How a column will be coded, and what that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// 0 for the numbers themselves, 1 for their changes, 2 for the changes of these.
    pub(super) order: u8,
    signed: bool,
    base: i64,
    multiple: u64,
    width: u8,
    /// About how many bytes it takes.
    pub(super) bytes: usize,
    /// About how many bytes a coder of entropies takes, without its header.
    pub(super) entropy_bytes: usize,
}

/// Encodes columns; keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct PackedEncoder {
    residuals: Vec<u64>,
    bits: BitWriter,
}

/// What one look at a column finds.
#[derive(Debug, Clone, Copy)]
struct Extremes {
    number: (i64, i64),
    step: (i64, i64),
}

impl PackedEncoder {
    /// How `numbers` would be coded; `None` for numbers too large for it.
    pub(super) fn plan(&mut self, numbers: &[i64]) -> Option<Plan> {
        let found = extremes(numbers)?;
        let (min_step, max_step) = found.step;
        let range_bits = bits_of(max_step.wrapping_sub(min_step).cast_unsigned());
        let folded_bits = bits_of(zigzag(min_step).max(zigzag(max_step)));
        let signed = min_step < 0 && range_bits >= folded_bits;
        let lengths = lengths(numbers, found.number.0, if signed { None } else { Some(min_step) });
        let [by_number, by_step, by_bend] = &lengths;
        let plain =
            Plan { order: 0, signed: false, base: found.number.0, multiple: 1, width: 0, bytes: 0, entropy_bytes: 0 };
        let stepped = Plan { order: 1, signed, base: if signed { 0 } else { min_step }, ..plain };
        let curved = Plan { order: 2, signed: true, base: 0, ..plain };
        let sized = [plain.sized(by_number), stepped.sized(by_step), curved.sized(by_bend)];
        let best = sized.into_iter().min_by_key(|plan| plan.bytes.min(plan.entropy_bytes + ENTROPY_HEADER_BYTES))?;
        self.fill(numbers, &best);
        let multiple = common_factor(&self.residuals, best.signed);
        if multiple <= 1 {
            return Some(best);
        }
        let divided = Plan { multiple, ..best };
        self.fill(numbers, &divided);
        let mut lengths: Lengths = [0; 65];
        self.residuals.iter().for_each(|&residual| count(&mut lengths, residual));
        Some(divided.sized(&lengths))
    }

    /// Appends what was planned last, of the same `numbers`, to `out`.
    pub(super) fn encode(&mut self, plan: &Plan, numbers: &[i64], out: &mut Vec<u8>) {
        out.push(plan.order | if plan.signed { SIGNED_BIT } else { 0 });
        out.push(plan.width);
        let first = numbers.first().copied().unwrap_or(0);
        if plan.order > 0 {
            push_i64(out, first);
        }
        if plan.order > 1 {
            push_i64(out, numbers.get(1).copied().unwrap_or(first).wrapping_sub(first));
        }
        push_i64(out, plan.base);
        push_u64(out, plan.multiple);
        let width = u32::from(plan.width);
        let wide = |residual: u64| residual >> width != 0;
        push_u64(out, self.residuals.iter().filter(|&&residual| wide(residual)).count() as u64);
        let mut next = 0;
        for (at, &residual) in self.residuals.iter().enumerate().filter(|(_, residual)| wide(**residual)) {
            push_u64(out, (at - next) as u64);
            push_u64(out, residual >> width);
            next = at + 1;
        }
        if width > 0 {
            self.bits.clear();
            self.residuals.iter().for_each(|&residual| self.bits.push(residual, width));
            self.bits.copy_into(out);
        }
    }

    fn fill(&mut self, numbers: &[i64], plan: &Plan) {
        self.residuals.clear();
        let residual = |value: i64| {
            let from_base = value.wrapping_sub(plan.base);
            if plan.signed {
                zigzag(if plan.multiple > 1 { from_base / plan.multiple.cast_signed() } else { from_base })
            } else if plan.multiple > 1 {
                from_base.cast_unsigned() / plan.multiple
            } else {
                from_base.cast_unsigned()
            }
        };
        let steps = numbers.windows(2).map(|pair| match *pair {
            [a, b] => b.wrapping_sub(a),
            _ => 0,
        });
        match plan.order {
            0 => self.residuals.extend(numbers.iter().map(|&number| residual(number))),
            1 => self.residuals.extend(steps.map(residual)),
            _ => {
                let bends = steps.clone().zip(steps.skip(1)).map(|(a, b)| b.wrapping_sub(a));
                self.residuals.extend(bends.map(residual));
            }
        }
    }
}

/// What an entropy coder's description of its bins takes, about.
const ENTROPY_HEADER_BYTES: usize = 16;

impl Plan {
    /// The plan with the width that takes the fewest bytes for residuals of such lengths.
    fn sized(self, lengths: &Lengths) -> Self {
        let all: u32 = lengths.iter().sum();
        // What is longer than the width is patched, by a byte for its place and seven bits of the rest in each further
        // one. From wide to narrow: as many further bytes as at a width of seven bits more, and one for each that is longer.
        let (mut longer, mut further_bytes) = (0u64, [0u64; 65 + 7]);
        let (mut width, mut bits) = (0, u64::MAX);
        // Widths that nothing needs take no fewer bits.
        let longest = lengths.iter().rposition(|&count| count > 0).unwrap_or(0);
        for (at, &count) in lengths.iter().enumerate().take(longest + 1).rev() {
            let bytes = longer + further_bytes.get(at + 7).copied().unwrap_or(0);
            if let Some(at_width) = further_bytes.get_mut(at) {
                *at_width = bytes;
            }
            let bits_here = at as u64 * u64::from(all) + 8 * (longer + bytes);
            if at <= usize::from(WIDTH_MAX) && bits_here <= bits {
                (width, bits) = (at, bits_here);
            }
            longer += u64::from(count);
        }
        let header_bytes = 5 + 3 * usize::from(self.order);
        let bytes = usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX).saturating_add(header_bytes);
        Self {
            width: u8::try_from(width).unwrap_or(WIDTH_MAX),
            bytes,
            entropy_bytes: entropy_bytes(lengths, all),
            ..self
        }
    }
}

/// What the classes of length take by Shannon's bound, with the bits below the highest one as they are.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate from small counts"
)]
fn entropy_bytes(lengths: &Lengths, all: u32) -> usize {
    let all = f64::from(all);
    let class = |(length, &count): (usize, &u32)| {
        let share = f64::from(count);
        share * ((all / share).log2() + length.saturating_sub(1) as f64)
    };
    let bits: f64 = lengths.iter().enumerate().filter(|(_, count)| **count > 0).map(class).sum();
    (bits / 8.0) as usize
}

fn bits_of(number: u64) -> u32 {
    64 - number.leading_zeros()
}

#[inline]
fn count(lengths: &mut Lengths, residual: u64) {
    if let Some(count) = lengths.get_mut(bits_of(residual) as usize) {
        *count += 1;
    }
}

/// Smallest and largest number and change; `None` if a number is too large.
fn extremes(numbers: &[i64]) -> Option<Extremes> {
    let (&first, rest) = numbers.split_first()?;
    let mut found = Extremes { number: (first, first), step: (i64::MAX, i64::MIN) };
    let mut previous = first;
    for &number in rest {
        let step = number.wrapping_sub(previous);
        found.number = (found.number.0.min(number), found.number.1.max(number));
        found.step = (found.step.0.min(step), found.step.1.max(step));
        previous = number;
    }
    if rest.is_empty() {
        found.step = (0, 0);
    }
    let fits = found.number.0.unsigned_abs().max(found.number.1.unsigned_abs()) <= NUMBER_MAX;
    fits.then_some(found)
}

/// How long numbers less the smallest, changes (less `min_step`, or folded), and folded changes of the changes are.
fn lengths(numbers: &[i64], min: i64, min_step: Option<i64>) -> [Lengths; 3] {
    let mut lengths: [Lengths; 3] = [[0; 65]; 3];
    let [by_number, by_step, by_bend] = &mut lengths;
    let mut before: Option<(i64, Option<i64>)> = None;
    for &number in numbers {
        count(by_number, number.wrapping_sub(min).cast_unsigned());
        let step = before.map(|(previous, _)| number.wrapping_sub(previous));
        if let Some(step) = step {
            count(
                by_step,
                min_step.map_or_else(|| zigzag(step), |min_step| step.wrapping_sub(min_step).cast_unsigned()),
            );
            if let Some((_, Some(previous))) = before {
                count(by_bend, zigzag(step.wrapping_sub(previous)));
            }
        }
        before = Some((number, step));
    }
    lengths
}

/// The largest number that divides all residuals; zero if all are zero.
fn common_factor(residuals: &[u64], signed: bool) -> u64 {
    let mut factor = 0u64;
    for &residual in residuals {
        let mut rest = if signed { unzigzag(residual).unsigned_abs() } else { residual };
        while rest != 0 {
            (factor, rest) = (rest, factor % rest);
        }
        if factor == 1 {
            break;
        }
    }
    factor
}

/// Appends `count` numbers to `out`.
///
/// # Errors
///
/// When `count` is above the limit or the bytes are not of that coding; `out` may then hold some more numbers.
pub(super) fn decode(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    check_count(count)?;
    let mut rest = bytes;
    let malformed =
        || CodecError::Malformed { coding: CODING, detail: "its head is cut off or contradicts itself".to_owned() };
    let (&[kind, width], after) = rest.split_first_chunk::<2>().ok_or_else(malformed)?;
    rest = after;
    let (order, signed) = (kind & !SIGNED_BIT, kind & SIGNED_BIT != 0);
    if order > ORDER_MAX || width > WIDTH_MAX {
        return Err(malformed());
    }
    let first = if order > 0 { take_i64(&mut rest).ok_or_else(malformed)? } else { 0 };
    let step = if order > 1 { take_i64(&mut rest).ok_or_else(malformed)? } else { 0 };
    let base = take_i64(&mut rest).ok_or_else(malformed)?;
    let multiple = take_u64(&mut rest).ok_or_else(malformed)?.cast_signed();
    let residuals = count.saturating_sub(usize::from(order));
    let patches = take_usize(&mut rest, residuals).ok_or_else(malformed)?;
    let patches_at = rest;
    for _ in 0..patches {
        take_u64(&mut rest).and_then(|_| take_u64(&mut rest)).ok_or_else(malformed)?;
    }
    let start = out.len();
    out.extend([first, first.wrapping_add(step)].iter().take(usize::from(order).min(count)));
    let body = out.len();
    unpack(rest, u32::from(width), residuals, out)?;
    let unpacked = out.get_mut(body..).unwrap_or_default();
    patch(patches_at, patches, u32::from(width), unpacked).ok_or_else(malformed)?;
    for residual in &mut *unpacked {
        let folded = if signed { unzigzag(residual.cast_unsigned()) } else { *residual };
        *residual = base.wrapping_add(folded.wrapping_mul(multiple));
    }
    integrate(order, first, step, out.get_mut(start..).unwrap_or_default());
    Ok(())
}

/// Appends `count` residuals of `width` bits.
fn unpack(bytes: &[u8], width: u32, count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    if width == 0 {
        out.extend(std::iter::repeat_n(0, count));
        return Ok(());
    }
    let mut reader = BitReader::new(bytes);
    out.reserve(count);
    for at in 0..count {
        let bits = reader.read(width).ok_or(CodecError::Truncated { coding: CODING, at, count })?;
        out.push(bits.cast_signed());
    }
    Ok(())
}

/// Adds the bits that did not fit.
fn patch(mut bytes: &[u8], patches: usize, width: u32, residuals: &mut [i64]) -> Option<()> {
    let mut next = 0;
    for _ in 0..patches {
        let at = take_usize(&mut bytes, residuals.len())? + next;
        let high = take_u64(&mut bytes)?;
        let residual = residuals.get_mut(at)?;
        *residual = (residual.cast_unsigned() | high.checked_shl(width)?).cast_signed();
        next = at + 1;
    }
    Some(())
}

/// Makes numbers of their changes, which follow the first `order` numbers.
fn integrate(order: u8, first: i64, step: i64, numbers: &mut [i64]) {
    let body = numbers.get_mut(usize::from(order)..).unwrap_or_default();
    match order {
        0 => {}
        1 => {
            let mut number = first;
            for change in body {
                number = number.wrapping_add(*change);
                *change = number;
            }
        }
        _ => {
            let (mut number, mut step) = (first.wrapping_add(step), step);
            for change in body {
                step = step.wrapping_add(*change);
                number = number.wrapping_add(step);
                *change = number;
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "bounds are the test's own")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(numbers: &[i64]) -> Option<(Plan, Vec<u8>)> {
        let mut encoder = PackedEncoder::default();
        let plan = encoder.plan(numbers)?;
        let mut bytes = Vec::new();
        encoder.encode(&plan, numbers, &mut bytes);
        Some((plan, bytes))
    }

    #[track_caller]
    fn check(numbers: &[i64], bytes_max: usize) {
        let (_, bytes) = encoded(numbers).unwrap();
        let mut back = Vec::new();
        decode(&bytes, numbers.len(), &mut back).unwrap();
        assert_eq!(back, numbers);
        assert!(bytes.len() <= bytes_max, "{} bytes for {numbers:?}", bytes.len());
    }

    proptest! {
        /// Of all widths the one with the fewest bits, the narrowest of several.
        #[test]
        fn widths_take_the_fewest_bits(counts in prop::collection::vec((0usize..65, 0u32..300), 0..9)) {
            let mut lengths: Lengths = [0; 65];
            for (length, count) in counts {
                lengths[length] += count;
            }
            let all = u64::from(lengths.iter().sum::<u32>());
            let longer = |width: usize| lengths.iter().skip(width + 1).copied().map(u64::from).sum::<u64>();
            let further = |width: usize| (width..65).step_by(7).map(longer).sum::<u64>();
            let bits = |width: &usize| *width as u64 * all + 8 * (longer(*width) + further(*width));
            let best = (0..=usize::from(WIDTH_MAX)).min_by_key(bits).expect("some");
            let plan = Plan { order: 0, signed: false, base: 0, multiple: 1, width: 0, bytes: 0, entropy_bytes: 0 };
            let sized = plan.sized(&lengths);
            prop_assert_eq!((usize::from(sized.width), sized.bytes as u64), (best, bits(&best).div_ceil(8) + 5));
        }
    }

    #[test]
    fn columns_take_what_they_should() {
        check(&[7], 8);
        check(&[7, 9], 9);
        // Two changes in a hundred.
        let seldom: Vec<i64> = (0..100).map(|at| 1_000_000 + i64::from(at > 30) * 5 - i64::from(at > 80) * 9).collect();
        check(&seldom, 18);
        // A counter in multiples of 37, four bits a sample.
        let multiples: Vec<i64> = (0..200)
            .scan(0, |sum, at| {
                *sum += at * at % 16 * 37;
                Some(*sum)
            })
            .collect();
        check(&multiples, 112);
        // A constant rate with one reset.
        let reset: Vec<i64> = (0..100).map(|at| if at < 50 { 1000 + at * 15 } else { (at - 50) * 15 }).collect();
        check(&reset, 20);
        assert!(encoded(&[i64::MAX, 0]).is_none());
    }

    proptest! {
        #[test]
        fn columns_come_back(
            numbers in prop::collection::vec(any::<i64>(), 1..200), shift in 4u32..64, factor in 1i64..50,
            sums in any::<bool>(),
        ) {
            let mut numbers: Vec<i64> = numbers.iter().map(|number| (number >> shift).wrapping_mul(factor)).collect();
            if sums {
                numbers.iter_mut().fold(0i64, |sum, number| { *number = sum.wrapping_add(*number); *number });
            }
            if let Some((plan, bytes)) = encoded(&numbers) {
                let mut back = vec![1];
                prop_assert_eq!(decode(&bytes, numbers.len(), &mut back), Ok(()));
                prop_assert_eq!(&back[1..], &numbers);
                prop_assert!(bytes.len() <= plan.bytes * 2 + 40, "{} planned, {} written", plan.bytes, bytes.len());
            }
        }

        /// Of all widths the first that takes the fewest bits, each patch counted by itself.
        #[test]
        fn the_best_width_is_found(counts in prop::collection::vec((0usize..65, 1u32..40), 0..12)) {
            let mut lengths: Lengths = [0; 65];
            for (length, count) in counts {
                lengths[length] += count;
            }
            let all: u64 = lengths.iter().map(|&count| u64::from(count)).sum();
            let bits = |width: usize| -> u64 {
                let patches = (width + 1..65).map(|length| {
                    u64::from(lengths[length]) * 8 * (1 + (length - width).div_ceil(7) as u64)
                });
                width as u64 * all + patches.sum::<u64>()
            };
            let best = (0..=usize::from(WIDTH_MAX)).min_by_key(|&width| bits(width)).unwrap();
            let plain = Plan { order: 0, signed: false, base: 0, multiple: 1, width: 0, bytes: 0, entropy_bytes: 0 };
            let plan = plain.sized(&lengths);
            prop_assert_eq!((usize::from(plan.width), plan.bytes as u64), (best, bits(best).div_ceil(8) + 5));
        }

        #[test]
        fn garbage_is_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100), count in 0usize..5000) {
            let _ = decode(&bytes, count, &mut Vec::new());
            for (byte, limit) in bytes.iter_mut().zip([8, 57]) {
                *byte %= limit;
            }
            let mut out = Vec::new();
            if decode(&bytes, count, &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
        }
    }
}
