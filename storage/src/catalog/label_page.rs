//! The label sets of up to 256 series with neighbouring ids, in a few bytes each.
//!
//! Ids are given in the order in which series first appear, so neighbours are mostly of one target: they share nearly
//! all their values, and the targets after it repeat its metric names. A page holds every text once, the rest are
//! columns of small numbers that hardly change from row to row, and zstd takes what repeats. Made-up label sets of
//! 230 bytes take 3 bytes each, those of real exporters 6. The bytes are drawn in `docs/format-log-catalog.md`.
#![warn(clippy::indexing_slicing)]

use std::io::Read;

use hashbrown::HashMap;
use model::{Labels, LabelsBuilder, LabelsRef};

use crate::codec::varint::{push_i64, push_u64, take_i64, take_u64, take_usize};

/// Series of one page.
pub const PAGE_SERIES: usize = 256;
/// Most bytes of a page before it is compressed, and of all its label sets together. Label sets from outside are
/// limited to 16 KiB each, a sixtieth of this.
const PAGE_BYTES_MAX: usize = 256 << 20;
/// The first byte of a page.
const VERSION: u8 = 0;
/// Higher levels of zstd gain a hundredth and take ten times as long.
const LEVEL: i32 = 9;

type Map<K, V> = HashMap<K, V, ahash::RandomState>;

/// Why a page cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("label page is damaged: {detail}")]
pub struct LabelPageError {
    detail: &'static str,
}

const fn damaged(detail: &'static str) -> LabelPageError {
    LabelPageError { detail }
}

/// The values of one label name over the rows that have it.
#[derive(Debug, Default)]
struct Column<'a> {
    values: Vec<&'a str>,
    known: Map<&'a str, i64>,
    rows: Vec<i64>,
}

impl<'a> Column<'a> {
    fn push(&mut self, value: &'a str) {
        let next = i64::try_from(self.values.len()).expect("a page has few rows");
        let index = *self.known.entry(value).or_insert(next);
        if index == next {
            self.values.push(value);
        }
        self.rows.push(index);
    }
}

/// Codes rows of slot (place in the page) and label set, which ascend by slot.
pub fn encode<'a>(rows: impl IntoIterator<Item = (u8, LabelsRef<'a>)>) -> Vec<u8> {
    let rows: Vec<(u8, LabelsRef<'a>)> = rows.into_iter().collect();
    debug_assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "slots ascend");
    let mut names: Vec<&str> = rows.iter().flat_map(|(_, labels)| labels.iter().map(|(name, _)| name)).collect();
    names.sort_unstable();
    names.dedup();
    let places: Map<&str, usize> = names.iter().enumerate().map(|(place, name)| (*name, place)).collect();
    let mut columns: Vec<Column<'_>> = names.iter().map(|_| Column::default()).collect();
    let mut shapes: Vec<Vec<usize>> = Vec::new();
    let mut known_shapes: Map<Vec<usize>, usize> = Map::default();
    let mut shape_of_row = Vec::with_capacity(rows.len());
    for (_, labels) in &rows {
        let mut shape = Vec::new();
        for (name, value) in labels.iter() {
            let Some((place, column)) = places.get(name).and_then(|&place| Some((place, columns.get_mut(place)?)))
            else {
                continue;
            };
            shape.push(place);
            column.push(value);
        }
        let shape = *known_shapes.entry(shape).or_insert_with_key(|shape| {
            shapes.push(shape.clone());
            shapes.len() - 1
        });
        shape_of_row.push(shape);
    }
    let mut out = slot_bits(rows.iter().map(|(slot, _)| *slot)).to_vec();
    push_texts(&mut out, &names);
    push_u64(&mut out, shapes.len() as u64);
    for shape in &shapes {
        push_u64(&mut out, shape.len() as u64);
        for &place in shape {
            push_u64(&mut out, place as u64);
        }
    }
    for shape in shape_of_row {
        push_u64(&mut out, shape as u64);
    }
    for column in &columns {
        push_texts(&mut out, &column.values);
        let mut last = -1;
        for &index in &column.rows {
            push_i64(&mut out, index - last);
            last = index;
        }
    }
    compress(&out)
}

fn slot_bits(slots: impl Iterator<Item = u8>) -> [u8; PAGE_SERIES / 8] {
    let mut bits = [0; PAGE_SERIES / 8];
    for slot in slots {
        if let Some(byte) = bits.get_mut(usize::from(slot / 8)) {
            *byte |= 1 << (slot % 8);
        }
    }
    bits
}

/// How many there are, how long each is, and all in a row.
fn push_texts(out: &mut Vec<u8>, texts: &[&str]) {
    push_u64(out, texts.len() as u64);
    for text in texts {
        push_u64(out, text.len() as u64);
    }
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

/// The version of the coding, the length, and the bytes compressed.
fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION];
    push_u64(&mut out, bytes.len() as u64);
    let compressed = zstd::bulk::compress(bytes, LEVEL).expect("there is room for whatever zstd makes of it");
    out.extend_from_slice(&compressed);
    out
}

/// The slots of a page's rows, ascending, for which it is decompressed only as far as need be.
///
/// # Errors
///
/// When the bytes are not what [`encode`] makes, as far as they are looked at.
pub fn slots(bytes: &[u8]) -> Result<Vec<u8>, LabelPageError> {
    let mut bytes = bytes.strip_prefix(&[VERSION]).ok_or(damaged("its version"))?;
    take_usize(&mut bytes, PAGE_BYTES_MAX).ok_or(damaged("its length"))?;
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(|_| damaged("zstd"))?;
    let mut bits = [0; PAGE_SERIES / 8];
    decoder.read_exact(&mut bits).map_err(|_| damaged("its slots"))?;
    Ok(slots_of(&bits))
}

fn slots_of(bits: &[u8; PAGE_SERIES / 8]) -> Vec<u8> {
    let has = |slot: &u8| bits.get(usize::from(slot / 8)).is_some_and(|byte| byte >> (slot % 8) & 1 == 1);
    (0..=u8::MAX).filter(has).collect()
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>, LabelPageError> {
    let mut bytes = bytes.strip_prefix(&[VERSION]).ok_or(damaged("its version"))?;
    let length = take_usize(&mut bytes, PAGE_BYTES_MAX).ok_or(damaged("its length"))?;
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(|_| damaged("zstd"))?;
    let mut out = Vec::with_capacity(length.min(1 << 16));
    let limit = length as u64 + 1;
    decoder.by_ref().take(limit).read_to_end(&mut out).map_err(|_| damaged("zstd"))?;
    if out.len() == length { Ok(out) } else { Err(damaged("it is not as long as it says")) }
}

/// The rows of a page, by slot.
///
/// # Errors
///
/// When the bytes are not what [`encode`] makes.
pub fn decode(bytes: &[u8]) -> Result<Vec<(u8, Labels)>, LabelPageError> {
    decode_some(bytes, |_| true)
}

/// A row while its columns are read.
struct Row<'a> {
    slot: u8,
    wanted: bool,
    /// Places of its names, and how many of them have come.
    shape: &'a [usize],
    next: usize,
    /// Its values so far, if it is wanted.
    values: Vec<&'a str>,
}

/// The rows of a page whose slots are `wanted`. All columns are walked, as each row's value is told by the one before; label sets,
/// which are most of the work, are made of the wanted rows alone.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_some(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Result<Vec<(u8, Labels)>, LabelPageError> {
    let bytes = decompress(bytes)?;
    let (bits, mut rest) = bytes.split_first_chunk::<{ PAGE_SERIES / 8 }>().ok_or(damaged("its slots"))?;
    let rest = &mut rest;
    let names = take_texts(rest, rest.len())?;
    let shapes = take_shapes(rest, names.len())?;
    let mut rows: Vec<Row<'_>> = Vec::with_capacity(PAGE_SERIES);
    for slot in slots_of(bits) {
        let shape = take_u64(rest).and_then(|shape| shapes.get(usize::try_from(shape).ok()?));
        let (shape, wanted) = (shape.ok_or(damaged("a row's names"))?, wanted(slot));
        let values = Vec::with_capacity(if wanted { shape.len() } else { 0 });
        rows.push(Row { slot, wanted, shape, next: 0, values });
    }
    let mut text_bytes = 0;
    for (place, name) in names.iter().enumerate() {
        let values = take_texts(rest, PAGE_SERIES)?;
        let mut index = -1i64;
        for row in &mut rows {
            if row.shape.get(row.next) != Some(&place) {
                continue;
            }
            row.next += 1;
            index = index.wrapping_add(take_i64(rest).ok_or(damaged("a row's value"))?);
            let value = usize::try_from(index).ok().and_then(|index| values.get(index));
            let value = *value.ok_or(damaged("a row's value"))?;
            text_bytes += name.len() + value.len();
            if text_bytes > PAGE_BYTES_MAX {
                return Err(damaged("its label sets are too long"));
            }
            if row.wanted {
                row.values.push(value);
            }
        }
    }
    if !rest.is_empty() {
        return Err(damaged("bytes are left over"));
    }
    let mut builder = LabelsBuilder::new();
    let rows = rows.iter().filter(|row| row.wanted).map(|row| {
        for (place, value) in row.shape.iter().zip(&row.values) {
            builder.push(names.get(*place).copied().unwrap_or_default(), value);
        }
        Ok((row.slot, builder.build().map_err(|_| damaged("a label set"))?))
    });
    rows.collect()
}

fn take_texts<'a>(bytes: &mut &'a [u8], most: usize) -> Result<Vec<&'a str>, LabelPageError> {
    // Each takes a byte at least.
    let count = take_usize(bytes, most.min(bytes.len())).ok_or(damaged("number of texts"))?;
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        lengths.push(take_usize(bytes, bytes.len()).ok_or(damaged("length of a text"))?);
    }
    let mut texts = Vec::with_capacity(lengths.len());
    for length in lengths {
        let (text, rest) = bytes.split_at_checked(length).ok_or(damaged("a text"))?;
        *bytes = rest;
        texts.push(std::str::from_utf8(text).map_err(|_| damaged("a text is not UTF-8"))?);
    }
    Ok(texts)
}

/// Lists of places of names, each ascending.
fn take_shapes(bytes: &mut &[u8], names: usize) -> Result<Vec<Vec<usize>>, LabelPageError> {
    let count = take_usize(bytes, bytes.len().min(PAGE_SERIES)).ok_or(damaged("number of shapes"))?;
    let mut shapes = Vec::with_capacity(count);
    for _ in 0..count {
        let length = take_usize(bytes, names.min(bytes.len())).ok_or(damaged("length of a shape"))?;
        let mut shape = Vec::with_capacity(length);
        for _ in 0..length {
            shape.push(take_usize(bytes, names.saturating_sub(1)).ok_or(damaged("a shape"))?);
        }
        if !shape.is_sorted_by(|a, b| a < b) {
            return Err(damaged("a shape"));
        }
        shapes.push(shape);
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn as_refs(rows: &[(u8, Labels)]) -> impl Iterator<Item = (u8, LabelsRef<'_>)> {
        rows.iter().map(|(slot, labels)| (*slot, labels.as_ref()))
    }

    /// Rows as targets have them: a few names and values that come again, some that are each row's own.
    fn any_rows() -> impl Strategy<Value = Vec<(u8, Labels)>> {
        let pair = (0u8..9, prop_oneof![(0u8..4).prop_map(|value| value.to_string()), "\\PC{1,20}"]);
        let labels = prop::collection::btree_map(pair.clone().prop_map(|(name, _)| format!("n{name}")), pair, 0..8)
            .prop_map(|of| Labels::from_pairs(of.into_iter().map(|(name, (_, value))| (name, value))).expect("valid"));
        prop::collection::btree_map(any::<u8>(), labels, 0..=PAGE_SERIES).prop_map(|rows| rows.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_was_coded_comes_back(rows in any_rows()) {
            prop_assert_eq!(decode(&encode(as_refs(&rows))), Ok(rows));
        }

        /// Whatever is left out, the others are as in the whole page.
        #[test]
        fn some_rows_are_as_in_the_whole_page(rows in any_rows(), each in 1u8..9, rest in 0u8..9) {
            let wanted = |slot: u8| slot % each == rest % each;
            let want: Vec<_> = rows.iter().filter(|(slot, _)| wanted(*slot)).cloned().collect();
            prop_assert_eq!(decode_some(&encode(as_refs(&rows)), wanted), Ok(want));
        }

        #[test]
        fn damage_never_panics(rows in any_rows(), flips in prop::collection::vec((any::<u16>(), 1u8..), 1..4), end: u16) {
            // Behind the compression too, where no checksum helps.
            let coded = encode(as_refs(&rows));
            let plain = decompress(&coded).expect("just made");
            for (mut bytes, inside) in [(coded, false), (plain, true)] {
                for &(at, flip) in &flips {
                    let at = usize::from(at) % bytes.len();
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= flip;
                    }
                }
                bytes.truncate(usize::from(end) % (bytes.len() * 2));
                drop(decode(&if inside { compress(&bytes) } else { bytes }));
            }
        }
    }

    #[test]
    fn neighbours_take_a_few_bytes_each() {
        let set = |target: u8, metric: u8| {
            Labels::from_pairs([
                ("__name__", format!("go_some_long_metric_name_{metric}_total")),
                ("cluster", "production-eu-central-1a".to_owned()),
                ("instance", format!("10.1.2.{target}:8080")),
                ("job", "checkout".to_owned()),
                ("pod", format!("checkout-7d9f8b6c54-{target:06x}")),
            ])
            .expect("valid")
        };
        let rows: Vec<(u8, Labels)> = (0..=u8::MAX).map(|slot| (slot, set(slot / 40, slot % 40))).collect();
        let bytes = encode(as_refs(&rows)).len();
        assert!(bytes < 4 * PAGE_SERIES, "{bytes} bytes");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(decode(&[]), Err(damaged("its version")));
        assert_eq!(decode(&[VERSION]), Err(damaged("its length")));
        let mut long = vec![VERSION];
        push_u64(&mut long, PAGE_BYTES_MAX as u64 + 1);
        assert_eq!(decode(&long), Err(damaged("its length")));
        // Millions of values without a letter, for one row.
        let mut empty = [&[1u8][..], &[0; 31], &[1, 1, b'a', 1, 1, 0, 0]].concat();
        push_u64(&mut empty, 4 << 20);
        empty.resize(8 << 20, 0);
        assert_eq!(decode(&compress(&empty)), Err(damaged("number of texts")));
        // Gigabytes of zeros in a few bytes stop at what was announced.
        let mut bomb = vec![VERSION];
        push_u64(&mut bomb, 40);
        bomb.extend(zstd::bulk::compress(&vec![0; 8 << 20], LEVEL).expect("compressed"));
        assert_eq!(decode(&bomb), Err(damaged("it is not as long as it says")));
    }

    /// A page as the first version of this coding wrote it.
    #[test]
    fn stored_bytes_stay_readable() {
        let plain = [
            &[0b101u8][..],
            &[0; 31], // slots 0 and 2
            &[2, 8, 1],
            b"__name__",
            b"a",                // names
            &[2, 1, 0, 2, 0, 1], // two shapes: {0} and {0, 1}
            &[0, 1],             // of slots 0 and 2
            &[1, 2],
            b"up",
            &[2, 0], // the first column
            &[1, 1],
            b"x",
            &[2], // the second
        ]
        .concat();
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).expect("valid");
        let want = vec![(0, labels(&[("__name__", "up")])), (2, labels(&[("__name__", "up"), ("a", "x")]))];
        assert_eq!(decode(&compress(&plain)), Ok(want.clone()));
        assert_eq!(decompress(&encode(as_refs(&want))), Ok(plain));
    }
}
