//! Walks over a profile in the protobuf of `go tool pprof` (`profile.proto`), and tells whether that tool would open it
//! and what is in it. Nothing of the profile is kept: its text stays where it is, numbers are looked up.
#![warn(clippy::indexing_slicing)]

use std::collections::HashSet;

use model::protobuf::{Fields, Malformed};

/// Most texts, functions, locations or samples of one profile.
const ENTRIES_MAX: usize = 1 << 20;
/// Most kinds of values of one profile; Go has four at most.
const TYPES_MAX: usize = 16;
/// Longest name of a kind of values that is told.
const NAME_BYTES_MAX: usize = 64;
/// One kind of values, and their sum over all samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Total {
    /// What is counted, such as `inuse_space`.
    pub(crate) name: String,
    /// Its unit, such as `bytes`.
    pub(crate) unit: String,
    /// The sum.
    pub(crate) sum: i64,
}

/// What is in a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// How many stacks.
    pub(crate) samples: u64,
    /// The kinds of values, in their order.
    pub(crate) totals: Vec<Total>,
    /// Number of the kind that viewers show first.
    pub(crate) shown: usize,
}

/// Numbers of the fields of a profile.
mod field {
    pub(super) const SAMPLE_TYPE: u64 = 1;
    pub(super) const SAMPLE: u64 = 2;
    pub(super) const LOCATION: u64 = 4;
    pub(super) const FUNCTION: u64 = 5;
    pub(super) const TEXT: u64 = 6;
    pub(super) const DEFAULT_TYPE: u64 = 14;
}

/// Walks over `message`, a profile without compression.
///
/// # Errors
///
/// What `go tool pprof` would not open, or what passes a bound.
pub(crate) fn walk(message: &[u8]) -> Result<Contents, Malformed> {
    let tables = Tables::read(message)?;
    let mut totals = Vec::new();
    for (name, unit) in &tables.types {
        totals.push(Total { name: tables.name(*name)?, unit: tables.name(*unit)?, sum: 0 });
    }
    if totals.is_empty() {
        return Err(Malformed("it has no kind of values"));
    }
    let mut samples = 0;
    for entry in Fields::of(message) {
        if let (field::SAMPLE, value) = entry? {
            samples += 1;
            tables.add_sample(value.bytes()?, &mut totals)?;
        }
    }
    let default = tables.name(tables.default_type)?;
    let last = totals.len() - 1;
    let shown = totals.iter().position(|total| !default.is_empty() && total.name == default).unwrap_or(last);
    Ok(Contents { samples, totals, shown })
}

/// What samples refer to.
#[derive(Debug, Default)]
struct Tables<'a> {
    texts: Vec<&'a [u8]>,
    types: Vec<(u64, u64)>,
    locations: HashSet<u64>,
    functions: HashSet<u64>,
    default_type: u64,
}

impl<'a> Tables<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let (mut tables, mut entries, mut called) = (Self::default(), 0, Vec::new());
        for entry in Fields::of(message) {
            entries += 1;
            if entries > 4 * ENTRIES_MAX {
                return Err(Malformed("it has too many entries"));
            }
            match entry? {
                (field::SAMPLE_TYPE, value) if tables.types.len() < TYPES_MAX => {
                    tables.types.push(pair(value.bytes()?)?);
                }
                (field::SAMPLE_TYPE, _) => return Err(Malformed("it has too many kinds of values")),
                (field::LOCATION, value) => {
                    let id = location(value.bytes()?, &mut called)?;
                    unique(&mut tables.locations, id)?;
                }
                (field::FUNCTION, value) => {
                    let id = first_number(value.bytes()?, 1)?;
                    unique(&mut tables.functions, id)?;
                }
                (field::TEXT, value) => tables.texts.push(value.bytes()?),
                (field::DEFAULT_TYPE, value) => tables.default_type = value.number()?,
                _ => {}
            }
        }
        if tables.texts.len() > ENTRIES_MAX {
            return Err(Malformed("it has too many texts"));
        }
        if tables.texts.first().is_none_or(|text| !text.is_empty()) {
            return Err(Malformed("its first text is not empty"));
        }
        if called.iter().any(|function| !tables.functions.contains(function)) {
            return Err(Malformed("a location is in a function that is not there"));
        }
        Ok(tables)
    }

    /// The text with this number, as a name that is told.
    fn name(&self, number: u64) -> Result<String, Malformed> {
        let text = usize::try_from(number).ok().and_then(|number| self.texts.get(number));
        let text = text.ok_or(Malformed("a text is not there"))?;
        let text = text.get(..NAME_BYTES_MAX).unwrap_or(text);
        Ok(String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect())
    }

    fn add_sample(&self, sample: &[u8], totals: &mut [Total]) -> Result<(), Malformed> {
        let mut values = 0;
        for entry in Fields::of(sample) {
            match entry? {
                (1, value) => value.numbers(|id| {
                    let there = self.locations.contains(&id);
                    if there { Ok(()) } else { Err(Malformed("a stack has a location that is not there")) }
                })?,
                (2, value) => value.numbers(|number| {
                    let total = totals.get_mut(values).ok_or(Malformed("a stack has too many values"))?;
                    total.sum = total.sum.saturating_add(number.cast_signed());
                    values += 1;
                    Ok(())
                })?,
                _ => {}
            }
        }
        if values == totals.len() { Ok(()) } else { Err(Malformed("a stack has too few values")) }
    }
}

fn unique(ids: &mut HashSet<u64>, id: u64) -> Result<(), Malformed> {
    if id == 0 || ids.len() >= ENTRIES_MAX {
        return Err(Malformed(if id == 0 {
            "a function or location has no number"
        } else {
            "it has too many entries"
        }));
    }
    if ids.insert(id) { Ok(()) } else { Err(Malformed("two functions or locations have one number")) }
}

/// Kind and unit of values: two numbers of texts.
fn pair(message: &[u8]) -> Result<(u64, u64), Malformed> {
    Ok((first_number(message, 1)?, first_number(message, 2)?))
}

/// The last value of the field `wanted`, as protobuf has it; 0 where it is not there.
fn first_number(message: &[u8], wanted: u64) -> Result<u64, Malformed> {
    let mut found = 0;
    for entry in Fields::of(message) {
        match entry? {
            (number, value) if number == wanted => found = value.number()?,
            _ => {}
        }
    }
    Ok(found)
}

/// Number of a location; the functions its lines are in are added to `called`.
fn location(message: &[u8], called: &mut Vec<u64>) -> Result<u64, Malformed> {
    let mut id = 0;
    for entry in Fields::of(message) {
        match entry? {
            (1, value) => id = value.number()?,
            (4, value) => {
                if called.len() >= 4 * ENTRIES_MAX {
                    return Err(Malformed("it has too many lines"));
                }
                called.push(first_number(value.bytes()?, 1)?);
            }
            _ => {}
        }
    }
    Ok(id)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests know what they made")]
pub(crate) mod tests {
    use super::*;

    fn number(out: &mut Vec<u8>, tag: u8, number: u8) {
        out.extend([tag << 3, number]);
    }

    fn message(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
        out.extend([tag << 3 | 2, u8::try_from(bytes.len()).unwrap()]);
        out.extend(bytes);
    }

    /// A profile with one stack: `goroutine` counted as `count`, in `main.leak`.
    pub(crate) fn small(kind: &str, count: u8) -> Vec<u8> {
        let (mut out, mut inner) = (Vec::new(), Vec::new());
        number(&mut inner, 1, 1);
        number(&mut inner, 2, 2);
        message(&mut out, 1, &inner);
        inner.clear();
        message(&mut inner, 1, &[7]);
        message(&mut inner, 2, &[count]);
        message(&mut out, 2, &inner);
        inner.clear();
        number(&mut inner, 1, 7);
        message(&mut inner, 4, &[8, 9]);
        message(&mut out, 4, &inner);
        message(&mut out, 5, &[8, 9, 16, 3]);
        for text in ["", kind, "count", "main.leak"] {
            message(&mut out, 6, text.as_bytes());
        }
        out
    }

    #[test]
    fn a_profile_is_summed_up() {
        let contents = walk(&small("goroutine", 42)).unwrap();
        assert_eq!((contents.samples, contents.shown), (1, 0));
        let want = Total { name: "goroutine".to_owned(), unit: "count".to_owned(), sum: 42 };
        assert_eq!(contents.totals, [want]);
    }

    #[test]
    fn what_refers_to_nothing_is_refused() {
        let whole = small("goroutine", 42);
        for (from, to, reason) in [
            (&[0x0a, 1, 7][..], &[0x0a, 1, 6][..], "a stack has a location that is not there"),
            (&[0x12, 1, 42], &[0x12, 1, 0x80], "its end is missing"),
            (&[0x22, 2, 8, 9], &[0x22, 2, 8, 8], "a location is in a function that is not there"),
            (&[8, 1, 16, 2], &[8, 1, 16, 9], "a text is not there"),
            (&[0x12, 1, 42], &[0x1a, 1, 42], "a stack has too few values"),
            (&[0x32, 0], &[0x3a, 0], "its first text is not empty"),
        ] {
            let at = whole.windows(from.len()).position(|window| window == from).expect(reason);
            let mut changed = whole.clone();
            changed[at..at + to.len()].copy_from_slice(to);
            assert_eq!(walk(&changed).map(drop), Err(Malformed(reason)));
        }
        assert_eq!(walk(&[]).map(drop), Err(Malformed("its first text is not empty")));
        assert_eq!(walk(&[0x32, 0]).map(drop), Err(Malformed("it has no kind of values")));
    }

    #[test]
    fn no_cut_and_no_flip_panics() {
        let whole = small("goroutine", 42);
        for end in 0..whole.len() {
            let _ = walk(&whole[..end]);
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                let _ = walk(&flipped);
            }
        }
        assert!(walk(&[0xff; 40]).is_err());
    }
}
