//! The protobuf form of profiles, usually gzipped, read under limits: whoever sends it may be broken or hostile. Fields
//! and messages are those of `profile.proto` of github.com/google/pprof.
#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use model::protobuf::{Field, Fields, Malformed};

use super::model::{Function, LabelValue, Line, Location, Profile, Sample, Text, ValueType};

/// Bounds on one profile. The default takes a profile of a very large program, and no more than about 100 MB of memory
/// for a hostile one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after decompression.
    pub inflated_bytes_max: u64,
    /// Samples.
    pub samples_max: usize,
    /// Locations, and lines of all locations.
    pub locations_max: usize,
    /// Functions.
    pub functions_max: usize,
    /// Texts.
    pub texts_max: usize,
    /// Kinds of values.
    pub sample_types_max: usize,
    /// Entries of the stacks of all samples; a label counts as four.
    pub stack_entries_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inflated_bytes_max: 32 << 20,
            samples_max: 100_000,
            locations_max: 200_000,
            functions_max: 100_000,
            texts_max: 200_000,
            sample_types_max: 16,
            stack_entries_max: 2_000_000,
        }
    }
}

/// Why a profile cannot be read. Asking again gives the same unless the program changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum DecodeError {
    /// The compression is broken, or the end is missing.
    #[error("profile is no valid gzip: {detail}")]
    Compression { detail: String },
    /// It is no profile.
    #[error("profile is malformed: {what}")]
    Malformed { what: &'static str },
    /// It is too large; a larger limit would read it.
    #[error("profile has more than {limit} {what}")]
    TooMuch { what: &'static str, limit: u64 },
}

impl From<Malformed> for DecodeError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed { what: malformed.0 }
    }
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads a profile, gzipped or not.
///
/// # Errors
///
/// When it is malformed or passes a limit.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Profile, DecodeError> {
    let message = inflate(bytes, limits.inflated_bytes_max)?;
    let parts = Parts::of(&message, limits)?;
    let tables = Tables::of(&parts, limits)?;
    let samples = samples(&parts, &tables, limits)?;
    let text = |at: u64| tables.text(at);
    Ok(Profile {
        default_type: text(parts.default_type)?,
        period_type: parts.period_type.map(|message| value_type(message, &tables)).transpose()?,
        period: parts.period,
        time_ns: parts.time_ns,
        duration_ns: parts.duration_ns,
        comments: parts.comments.iter().map(|at| text(*at)).collect::<Result<_, _>>()?,
        sample_types: parts
            .sample_types
            .iter()
            .map(|message| value_type(message, &tables))
            .collect::<Result<_, _>>()?,
        samples,
        locations: tables.locations,
        functions: tables.functions,
    })
}

fn inflate(bytes: &[u8], limit: u64) -> Result<Cow<'_, [u8]>, DecodeError> {
    let too_long = || DecodeError::TooMuch { what: "bytes", limit };
    if !bytes.starts_with(&GZIP_MAGIC) {
        return if bytes.len() as u64 > limit { Err(too_long()) } else { Ok(Cow::Borrowed(bytes)) };
    }
    let mut message = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(limit.saturating_add(1))
        .read_to_end(&mut message)
        .map_err(|error| DecodeError::Compression { detail: error.to_string() })?;
    if message.len() as u64 > limit { Err(too_long()) } else { Ok(Cow::Owned(message)) }
}

/// The fields of the outer message, sorted by what they are. Texts and functions come after the samples that name them.
#[derive(Default)]
struct Parts<'a> {
    sample_types: Vec<&'a [u8]>,
    samples: Vec<&'a [u8]>,
    locations: Vec<&'a [u8]>,
    functions: Vec<&'a [u8]>,
    texts: Vec<&'a [u8]>,
    comments: Vec<u64>,
    period_type: Option<&'a [u8]>,
    period: i64,
    time_ns: i64,
    duration_ns: i64,
    default_type: u64,
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let mut parts = Self::default();
        for field in Fields::of(message) {
            let (number, field) = field?;
            match number {
                1 => keep(&mut parts.sample_types, field.bytes()?, limits.sample_types_max, "kinds of values")?,
                2 => keep(&mut parts.samples, field.bytes()?, limits.samples_max, "samples")?,
                4 => keep(&mut parts.locations, field.bytes()?, limits.locations_max, "locations")?,
                5 => keep(&mut parts.functions, field.bytes()?, limits.functions_max, "functions")?,
                6 => keep(&mut parts.texts, field.bytes()?, limits.texts_max, "texts")?,
                9 => parts.time_ns = field.signed()?,
                10 => parts.duration_ns = field.signed()?,
                11 => parts.period_type = Some(field.bytes()?),
                12 => parts.period = field.signed()?,
                13 => field.numbers(|at| keep(&mut parts.comments, at, limits.texts_max, "comments"))?,
                14 => parts.default_type = field.number()?,
                // Mappings, and rules for what viewers leave out, which Go does not write.
                _ => {}
            }
        }
        Ok(parts)
    }
}

/// What samples refer to.
struct Tables {
    texts: Vec<Text>,
    empty: Text,
    functions: Vec<Function>,
    locations: Vec<Location>,
    location_ids: Ids,
}

impl Tables {
    fn of(parts: &Parts<'_>, limits: &Limits) -> Result<Self, DecodeError> {
        let texts: Vec<Text> = parts.texts.iter().map(|bytes| String::from_utf8_lossy(bytes).into()).collect();
        let empty = Text::from("");
        let mut tables =
            Self { texts, empty, functions: Vec::new(), locations: Vec::new(), location_ids: Ids::default() };
        let mut function_ids = Ids::default();
        for message in &parts.functions {
            let (id, function) = tables.function(message)?;
            function_ids.add(id, tables.functions.len(), "two functions have one id")?;
            tables.functions.push(function);
        }
        let mut lines_left = limits.locations_max;
        for message in &parts.locations {
            let (id, location) = location(message, &function_ids, &mut lines_left, limits)?;
            tables.location_ids.add(id, tables.locations.len(), "two locations have one id")?;
            tables.locations.push(location);
        }
        Ok(tables)
    }

    /// Text number `at`; the empty one where there is no table at all.
    fn text(&self, at: u64) -> Result<Text, DecodeError> {
        let text = usize::try_from(at).ok().and_then(|at| self.texts.get(at));
        match text {
            Some(text) => Ok(Arc::clone(text)),
            None if at == 0 => Ok(Arc::clone(&self.empty)),
            None => Err(DecodeError::Malformed { what: "a text that is not there" }),
        }
    }

    fn function(&self, message: &[u8]) -> Result<(u64, Function), DecodeError> {
        let (mut id, mut name, mut file, mut start_line) = (0, 0, 0, 0);
        for field in Fields::of(message) {
            match field? {
                (1, field) => id = field.number()?,
                (2, field) => name = field.number()?,
                (4, field) => file = field.number()?,
                (5, field) => start_line = field.signed()?,
                _ => {}
            }
        }
        Ok((id, Function { name: self.text(name)?, file: self.text(file)?, start_line }))
    }
}

fn value_type(message: &[u8], tables: &Tables) -> Result<ValueType, DecodeError> {
    let (mut kind, mut unit) = (0, 0);
    for field in Fields::of(message) {
        match field? {
            (1, field) => kind = field.number()?,
            (2, field) => unit = field.number()?,
            _ => {}
        }
    }
    Ok(ValueType { kind: tables.text(kind)?, unit: tables.text(unit)? })
}

fn location(
    message: &[u8],
    functions: &Ids,
    lines_left: &mut usize,
    limits: &Limits,
) -> Result<(u64, Location), DecodeError> {
    let (mut id, mut location) = (0, Location::default());
    for field in Fields::of(message) {
        match field? {
            (1, field) => id = field.number()?,
            (3, field) => location.address = field.number()?,
            (4, field) => {
                let too_much = DecodeError::TooMuch { what: "lines", limit: limits.locations_max as u64 };
                *lines_left = lines_left.checked_sub(1).ok_or(too_much)?;
                location.lines.push(line(field.bytes()?, functions)?);
            }
            _ => {}
        }
    }
    Ok((id, location))
}

fn line(message: &[u8], functions: &Ids) -> Result<Line, DecodeError> {
    let (mut function, mut line) = (0, 0);
    for field in Fields::of(message) {
        match field? {
            (1, field) => function = field.number()?,
            (2, field) => line = field.signed()?,
            _ => {}
        }
    }
    let function = functions.find(function).ok_or(DecodeError::Malformed { what: "a function that is not there" })?;
    Ok(Line { function, line })
}

/// What a label costs of [`Limits::stack_entries_max`].
const LABEL_ENTRIES: usize = 4;

fn samples(parts: &Parts<'_>, tables: &Tables, limits: &Limits) -> Result<Vec<Sample>, DecodeError> {
    let mut entries_left = limits.stack_entries_max;
    let mut take = |count| {
        let too_much = DecodeError::TooMuch { what: "stack entries", limit: limits.stack_entries_max as u64 };
        entries_left.checked_sub(count).map(|left| entries_left = left).ok_or(too_much)
    };
    let mut all = Vec::with_capacity(parts.samples.len());
    for message in &parts.samples {
        let mut sample = Sample { values: Vec::with_capacity(parts.sample_types.len()), ..Sample::default() };
        for field in Fields::of(message) {
            match field? {
                (1, field) => field.numbers(|id| {
                    take(1)?;
                    let at = tables.location_ids.find(id);
                    sample.stack.push(at.ok_or(DecodeError::Malformed { what: "a location that is not there" })?);
                    Ok::<_, DecodeError>(())
                })?,
                (2, field) => field.numbers(|value| {
                    keep(&mut sample.values, value.cast_signed(), limits.sample_types_max, "values in a sample")
                })?,
                (3, field) => {
                    take(LABEL_ENTRIES)?;
                    sample.labels.push(label(field, tables)?);
                }
                _ => {}
            }
        }
        if sample.values.len() != parts.sample_types.len() {
            return Err(DecodeError::Malformed { what: "a sample with too many or too few values" });
        }
        // Many small vectors that grew by doubling hold twice what they need.
        sample.stack.shrink_to_fit();
        all.push(sample);
    }
    Ok(all)
}

fn label(field: Field<'_>, tables: &Tables) -> Result<(Text, LabelValue), DecodeError> {
    let (mut key, mut text, mut number, mut unit) = (0, 0, 0, 0);
    for field in Fields::of(field.bytes()?) {
        match field? {
            (1, field) => key = field.number()?,
            (2, field) => text = field.number()?,
            (3, field) => number = field.signed()?,
            (4, field) => unit = field.number()?,
            _ => {}
        }
    }
    let value = match text {
        0 => LabelValue::Number(number, tables.text(unit)?),
        text => LabelValue::Text(tables.text(text)?),
    };
    Ok((tables.text(key)?, value))
}

fn keep<T>(all: &mut Vec<T>, item: T, most: usize, what: &'static str) -> Result<(), DecodeError> {
    if all.len() >= most {
        return Err(DecodeError::TooMuch { what, limit: most as u64 });
    }
    all.push(item);
    Ok(())
}

/// Finds what has an id. Ids are 1, 2, 3… nearly always, and then need no table.
#[derive(Default)]
struct Ids {
    in_order: u32,
    others: HashMap<u64, u32>,
}

impl Ids {
    fn add(&mut self, id: u64, at: usize, twice: &'static str) -> Result<(), DecodeError> {
        if id == 0 {
            return Err(DecodeError::Malformed { what: "an id of zero" });
        }
        let at = u32::try_from(at).map_err(|_| DecodeError::Malformed { what: "too many ids" })?;
        if self.find(id).is_some() {
            return Err(DecodeError::Malformed { what: twice });
        }
        if self.others.is_empty() && id == u64::from(at) + 1 {
            self.in_order = at + 1;
        } else {
            self.others.insert(id, at);
        }
        Ok(())
    }

    fn find(&self, id: u64) -> Option<u32> {
        if id >= 1 && id <= u64::from(self.in_order) {
            return u32::try_from(id - 1).ok();
        }
        self.others.get(&id).copied()
    }
}
