//! Summaries of blocks, column by column, beside the two columns of times that series of one scrape share.
//!
//! The chunk's own timestamps are the times of the latest samples, so that a reader of plain samples finds the latest
//! value of each window at its time. The times of the earliest samples are another column of the block, which the chunk
//! names. Columns that follow from others, as most do for counters and constant series, take one byte.
//! `docs/format.md` has the bytes.

use std::ops::Range;

use model::Summary;
use model::summary::window_end_ms;

use crate::codec::values::{self, ValueCoding, ValueEncoder};
use crate::codec::varint::{push_i64, push_u64, take_i64, take_u64, take_usize};
use crate::codec::{CHUNK_SAMPLES_MAX, CodecError, Effort, check_count};

/// The value coding of a chunk of summaries in files.
pub const TAG: u8 = 9;
/// Longest window that is read; one divides the day.
pub const WINDOW_MS_MAX: i64 = 86_400_000;

/// The name in errors.
const CODING: &str = "summary columns";
/// Columns of a chunk, [`Field`]s.
const FIELDS: usize = 9;

/// The columns in the order they are written; those before can be told from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Last,
    First,
    Count,
    Min,
    Max,
    Sum,
    BeforeResets,
    Resets,
    Changes,
}

const ALL: [Field; FIELDS] = [
    Field::Last,
    Field::First,
    Field::Count,
    Field::Min,
    Field::Max,
    Field::Sum,
    Field::BeforeResets,
    Field::Resets,
    Field::Changes,
];

/// A number that follows from others.
type Derive = fn(&Summary) -> f64;

/// How a column follows from others, by its byte in files.
const DERIVED: [(u8, Derive); 4] = [
    (0x20, |of| of.first),
    (0x21, |of| of.last),
    (0x22, |of| of.last * float(of.count)),
    (LAST_LESS_FIRST, |of| of.last - of.first),
];

/// The increase of counters that were never reset.
const LAST_LESS_FIRST: u8 = 0x23;
/// Before the column of what is before resets; without it that column is the increase, as files had it before.
const BEFORE_RESETS: u8 = 0x24;

/// Where the times of the earliest samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstTimes {
    /// The number of their column in the block.
    pub column: u64,
    /// The place of the first of them in it.
    pub index: usize,
}

/// Appends `summaries`, at most [`CHUNK_SAMPLES_MAX`] of one window, to `out`. The chunk's own column is `column`.
pub fn encode(
    encoder: &mut ValueEncoder,
    summaries: &[Summary],
    column: u64,
    first_times: FirstTimes,
    effort: Effort,
    out: &mut Vec<u8>,
) {
    push_i64(out, summaries.first().map_or(1, |of| of.window_ms));
    push_i64(out, first_times.column.wrapping_sub(column).cast_signed());
    push_u64(out, first_times.index as u64);
    push_ended(summaries, out);
    let (mut numbers, mut part) = (Vec::with_capacity(summaries.len()), Vec::new());
    for field in ALL {
        if field == Field::BeforeResets {
            if summaries.iter().all(|of| of.resets == 0) {
                out.push(LAST_LESS_FIRST);
                continue;
            }
            out.push(BEFORE_RESETS);
        }
        numbers.clear();
        numbers.extend(summaries.iter().map(|of| get(of, field)));
        let same = |derive: Derive| {
            summaries.iter().zip(&numbers).all(|(of, number)| derive(of).to_bits() == number.to_bits())
        };
        let told = !matches!(field, Field::Last | Field::First | Field::Count | Field::BeforeResets);
        if let Some((tag, _)) = DERIVED.iter().find(|(_, derive)| told && same(*derive)) {
            out.push(*tag);
            continue;
        }
        part.clear();
        let coding = encoder.encode(&numbers, effort, &mut part);
        out.push(coding.tag());
        push_u64(out, part.len() as u64);
        out.extend_from_slice(&part);
    }
}

/// Appends the latest value of each of the `count` summaries of a chunk to `values`.
///
/// # Errors
///
/// When `count` is above the limit or the bytes are not of that coding; `values` may then hold some more.
pub fn decode_last(bytes: &[u8], count: usize, values: &mut Vec<f64>) -> Result<(), CodecError> {
    check_count(count)?;
    let mut rest = bytes;
    take_window_ms(&mut rest)?;
    take_first_times(&mut rest, 0)?;
    take_ended(&mut rest, count)?;
    take_column(&mut rest, count, values)?.ok_or_else(|| malformed("its latest values follow from others"))?;
    Ok(())
}

/// Where the times of the earliest samples are, of the chunk whose own column is `column`.
///
/// # Errors
///
/// When the bytes are not of that coding.
pub fn first_times(bytes: &[u8], column: u64) -> Result<FirstTimes, CodecError> {
    let mut rest = bytes;
    take_window_ms(&mut rest)?;
    take_first_times(&mut rest, column)
}

/// Appends the summaries `wanted` of a chunk; `last_ms` and `first_ms` are the times of its latest and earliest samples.
///
/// # Errors
///
/// When the bytes are not of that coding, or say what no summary is; `into` is then as before.
pub fn decode(
    bytes: &[u8],
    last_ms: &[i64],
    first_ms: &[i64],
    wanted: Range<usize>,
    into: &mut Vec<Summary>,
) -> Result<(), CodecError> {
    let count = last_ms.len();
    check_count(count)?;
    if first_ms.len() != count {
        return Err(malformed("it has not one earliest time for each latest"));
    }
    let mut rest = bytes;
    let window_ms = take_window_ms(&mut rest)?;
    take_first_times(&mut rest, 0)?;
    let ended = take_ended(&mut rest, count)?;
    let mut decoded: Vec<Summary> =
        last_ms.iter().zip(first_ms).map(|(&last_ms, &first_ms)| blank(window_ms, first_ms, last_ms)).collect();
    let mut numbers = Vec::with_capacity(count);
    let mut has_increases = false;
    for field in ALL {
        numbers.clear();
        if field == Field::BeforeResets {
            let tagged = rest.strip_prefix(&[BEFORE_RESETS]);
            has_increases = tagged.is_none();
            rest = tagged.unwrap_or(rest);
        }
        match take_column(&mut rest, count, &mut numbers)? {
            Some(()) => {
                for (of, &number) in decoded.iter_mut().zip(&numbers) {
                    set(of, field, number)?;
                }
            }
            None => derive(&mut rest, field, &mut decoded)?,
        }
    }
    if !rest.is_empty() {
        return Err(malformed("bytes are left over"));
    }
    if has_increases {
        decoded.iter_mut().for_each(subtract_difference);
    }
    for at in ended {
        if let Some(of) = decoded.get_mut(at) {
            of.ended = true;
        }
    }
    check(&decoded)?;
    into.extend_from_slice(decoded.get(wanted).unwrap_or_default());
    Ok(())
}

fn derive(rest: &mut &[u8], field: Field, decoded: &mut [Summary]) -> Result<(), CodecError> {
    let (&tag, after) = rest.split_first().ok_or_else(truncated)?;
    *rest = after;
    let (_, derive) = DERIVED.iter().find(|(known, _)| *known == tag).ok_or(CodecError::UnknownCoding { tag })?;
    decoded.iter_mut().try_for_each(|of| set(of, field, derive(of)))
}

/// Of a summary that has the increase where what is before resets belongs.
fn subtract_difference(of: &mut Summary) {
    of.before_resets = if of.resets == 0 { 0.0 } else { of.before_resets - (of.last - of.first) };
}

/// Whether each is the summary of some samples of its window.
fn check(decoded: &[Summary]) -> Result<(), CodecError> {
    let sound = |of: &Summary| {
        of.count > 0
            && of.first_ms <= of.last_ms
            && window_end_ms(of.first_ms, of.window_ms) == window_end_ms(of.last_ms, of.window_ms)
    };
    if decoded.iter().all(sound) { Ok(()) } else { Err(malformed("a window without samples, or with those of others")) }
}

fn blank(window_ms: i64, first_ms: i64, last_ms: i64) -> Summary {
    Summary {
        window_ms,
        count: 0,
        first_ms,
        last_ms,
        first: 0.0,
        last: 0.0,
        min: 0.0,
        max: 0.0,
        sum: 0.0,
        before_resets: 0.0,
        resets: 0,
        changes: 0,
        ended: false,
    }
}

fn get(of: &Summary, field: Field) -> f64 {
    match field {
        Field::Last => of.last,
        Field::First => of.first,
        Field::Count => float(of.count),
        Field::Min => of.min,
        Field::Max => of.max,
        Field::Sum => of.sum,
        Field::BeforeResets => of.before_resets,
        Field::Resets => float(of.resets),
        Field::Changes => float(of.changes),
    }
}

fn set(of: &mut Summary, field: Field, number: f64) -> Result<(), CodecError> {
    match field {
        Field::Last => of.last = number,
        Field::First => of.first = number,
        Field::Count => of.count = whole(number)?,
        Field::Min => of.min = number,
        Field::Max => of.max = number,
        Field::Sum => of.sum = number,
        Field::BeforeResets => of.before_resets = number,
        Field::Resets => of.resets = whole(number)?,
        Field::Changes => of.changes = whole(number)?,
    }
    Ok(())
}

/// A count as a double: exact below 2^53, which no window reaches.
#[expect(clippy::cast_precision_loss, reason = "samples of one window are far fewer than 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 0 on and below 2^53")]
fn whole(number: f64) -> Result<u64, CodecError> {
    let fits = (0.0..9_007_199_254_740_992.0).contains(&number) && number.fract() == 0.0;
    if fits { Ok(number as u64) } else { Err(malformed("a number of samples is none")) }
}

/// Takes a column, unless it follows from others: then the front of `rest` says how.
fn take_column(rest: &mut &[u8], count: usize, numbers: &mut Vec<f64>) -> Result<Option<()>, CodecError> {
    let (&tag, mut after) = rest.split_first().ok_or_else(truncated)?;
    if tag >= 0x20 {
        return Ok(None);
    }
    let length = take_usize(&mut after, rest.len()).ok_or_else(truncated)?;
    let (column, after) = after.split_at_checked(length).ok_or_else(truncated)?;
    values::decode(ValueCoding::from_tag(tag)?, column, count, numbers)?;
    *rest = after;
    Ok(Some(()))
}

fn take_window_ms(rest: &mut &[u8]) -> Result<i64, CodecError> {
    let window_ms = take_i64(rest).ok_or_else(truncated)?;
    if (1..=WINDOW_MS_MAX).contains(&window_ms) { Ok(window_ms) } else { Err(malformed("its window has no length")) }
}

fn take_first_times(rest: &mut &[u8], column: u64) -> Result<FirstTimes, CodecError> {
    let away = take_i64(rest).ok_or_else(truncated)?;
    let index = take_usize(rest, CHUNK_SAMPLES_MAX).ok_or_else(truncated)?;
    Ok(FirstTimes { column: column.wrapping_add_signed(away), index })
}

/// The places of the windows in which a series ended: their number, then each less the one before and 1.
fn push_ended(summaries: &[Summary], out: &mut Vec<u8>) {
    let places = || summaries.iter().zip(0u64..).filter(|(of, _)| of.ended).map(|(_, place)| place);
    push_u64(out, places().count() as u64);
    let mut next = 0;
    for place in places() {
        push_u64(out, place - next);
        next = place + 1;
    }
}

fn take_ended(rest: &mut &[u8], count: usize) -> Result<Vec<usize>, CodecError> {
    let number = take_usize(rest, count).ok_or_else(truncated)?;
    let (mut places, mut next) = (Vec::with_capacity(number), 0usize);
    for _ in 0..number {
        let gap = take_u64(rest).and_then(|gap| usize::try_from(gap).ok()).ok_or_else(truncated)?;
        let place = next.checked_add(gap).filter(|&place| place < count);
        let place = place.ok_or_else(|| malformed("a window that is not there ends a series"))?;
        places.push(place);
        next = place + 1;
    }
    Ok(places)
}

fn truncated() -> CodecError {
    malformed("bytes are missing")
}

fn malformed(detail: &str) -> CodecError {
    CodecError::Malformed { coding: CODING, detail: detail.to_owned() }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "bounds are the test's own")]
mod tests {
    use super::*;
    use crate::summary::summarise;

    /// A chunk as it was written before what is before resets had its column: with the increase in its place.
    fn encode_with_increases(summaries: &[Summary]) -> Vec<u8> {
        let (mut encoder, mut out) = (ValueEncoder::new(), Vec::new());
        push_i64(&mut out, summaries[0].window_ms);
        out.extend([0, 0, 0]);
        for field in ALL {
            let number = |of: &Summary| if field == Field::BeforeResets { of.increase() } else { get(of, field) };
            let numbers: Vec<f64> = summaries.iter().map(number).collect();
            let mut part = Vec::new();
            out.push(encoder.encode(&numbers, Effort::Fast, &mut part).tag());
            push_u64(&mut out, part.len() as u64);
            out.extend(part);
        }
        out
    }

    #[test]
    fn chunks_with_increases_are_read() {
        let times: Vec<i64> = (1..=40).collect();
        let values: Vec<f64> = (0..40u32).map(|at| f64::from(at * 7 % 15)).collect();
        let mut want = Vec::new();
        summarise(&times, &values, 10, &mut want);
        assert!(want.iter().all(|of| of.resets > 0 && of.before_resets > 0.0));
        let (first_ms, last_ms): (Vec<i64>, Vec<i64>) = want.iter().map(|of| (of.first_ms, of.last_ms)).unzip();
        let mut found = Vec::new();
        decode(&encode_with_increases(&want), &last_ms, &first_ms, 0..want.len(), &mut found).unwrap();
        assert_eq!(found, want);
        // Of an increase that is no number nobody knows what was before resets; without resets it is nothing.
        want[0].first = f64::NAN;
        (want[1].first, want[1].resets, want[1].before_resets) = (f64::NAN, 0, 0.0);
        found.clear();
        decode(&encode_with_increases(&want), &last_ms, &first_ms, 0..want.len(), &mut found).unwrap();
        assert!(found[0].before_resets.is_nan());
        assert!(found[1].before_resets == 0.0 && found[2..] == want[2..]);
    }
}
