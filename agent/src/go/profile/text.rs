//! The text form of profiles, `?debug=1`: stacks with counts, then their frames by name. `# runtime.MemStats` comes with
//! heap profiles, which is what `/debug/vars` says of memory.
//!
//! ```text
//! goroutine profile: total 17                  heap profile: 3: 18432 [313: 1923072] @ heap/1048576
//! 7 @ 0x48c68a 0x418d5c                        3: 18432 [313: 1923072] @ 0x6e24de
//! # labels: {"job":"x"}                        #  0x6e24dd  main.leak+0x1d  /src/main.go:5
//! #  0x6e24dd  main.leak+0x1d  /src/main.go:5
//! ```
//!
//! Functions of the runtime at the leaf have no line there, so that this form does not tell what goroutines wait for.
#![warn(clippy::indexing_slicing)]

use serde_json::{Map, Number, Value};

use super::decode::{DecodeError, Limits};
use super::model::{Builder, LabelValue, Line, Profile, Text, ValueType};
use super::quoted;

/// A profile in text form.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TextProfile {
    /// What it calls itself: `goroutine`, `heap`, `mutex`, `contention` for blocking, `threadcreate`.
    pub name: String,
    /// Its samples, of the kinds and in the units of the protobuf form.
    pub profile: Profile,
    /// What `runtime.MemStats` says, under the names of `/debug/vars`; empty where it is not there.
    pub memory: Map<String, Value>,
    /// For mutexes: one of how many events is taken. Values count all of them already.
    pub sampling_period: Option<i64>,
}

/// Longest line that is read; what is longer is cut.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Most numbers in a list of `MemStats`; the runtime's have 256.
const LIST_MAX: usize = 256;

/// Reads the text form of a profile.
///
/// # Errors
///
/// When it is malformed or passes a limit.
pub fn parse(page: &[u8], limits: &Limits) -> Result<TextProfile, DecodeError> {
    if page.len() as u64 > limits.inflated_bytes_max {
        return Err(DecodeError::TooMuch { what: "bytes", limit: limits.inflated_bytes_max });
    }
    let mut lines = page.split(|byte| *byte == b'\n').map(|line| {
        let line = line.get(..LINE_BYTES_MAX).unwrap_or(line);
        String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
    });
    let header = lines.next().unwrap_or_default();
    let mut reader = Reader::of(&header, *limits)?;
    for line in lines {
        reader.line(&line)?;
    }
    reader.finish()
}

/// What the numbers before `@` are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// How many stacks are alike.
    Count,
    /// Objects and bytes in use and allocated, sampled every so many bytes.
    Heap { rate: i64 },
    /// Cycles and events.
    Contention { cycles_per_second: f64 },
}

struct Reader {
    limits: Limits,
    name: String,
    form: Form,
    builder: Builder,
    memory: Map<String, Value>,
    in_memory: bool,
    sampling_period: Option<i64>,
    /// The sample whose frames are being read.
    open: Option<Open>,
    entries: usize,
}

#[derive(Default)]
struct Open {
    addresses: Vec<u64>,
    stack: Vec<u32>,
    values: Vec<i64>,
    labels: Vec<(Text, LabelValue)>,
}

impl Reader {
    fn of(header: &str, limits: Limits) -> Result<Self, DecodeError> {
        let (name, form) = form_of(header).ok_or(DecodeError::Malformed { what: "an unknown header" })?;
        let types: &[(&str, &str)] = match form {
            Form::Count => &[(name, "count")],
            Form::Heap { .. } => &[
                ("alloc_objects", "count"),
                ("alloc_space", "bytes"),
                ("inuse_objects", "count"),
                ("inuse_space", "bytes"),
            ],
            Form::Contention { .. } => &[("contentions", "count"), ("delay", "nanoseconds")],
        };
        let types: Vec<ValueType> = types.iter().map(|(kind, unit)| ValueType::new(kind, unit)).collect();
        let (period_type, period) = match form {
            Form::Heap { rate } => (Some(ValueType::new("space", "bytes")), rate),
            Form::Count | Form::Contention { .. } => (types.first().cloned(), 1),
        };
        let mut builder = Builder::new(types);
        builder.about().period_type = period_type;
        builder.about().period = period;
        Ok(Self {
            limits,
            name: name.to_owned(),
            form,
            builder,
            memory: Map::new(),
            in_memory: false,
            sampling_period: None,
            open: None,
            entries: 0,
        })
    }

    fn line(&mut self, line: &str) -> Result<(), DecodeError> {
        if let Some(rest) = line.strip_prefix('#') {
            return self.remark(rest);
        }
        self.close()?;
        if let Some((numbers, addresses)) = line.split_once('@') {
            return self.begin(numbers, addresses);
        }
        if let Some((key, value)) = line.split_once('=') {
            let value = value.trim();
            match (key.trim(), &mut self.form) {
                ("cycles/second", Form::Contention { cycles_per_second }) => {
                    *cycles_per_second = value.parse().unwrap_or(0.0);
                }
                ("sampling period", Form::Contention { .. }) => self.sampling_period = value.parse().ok(),
                _ => {}
            }
        }
        Ok(())
    }

    /// A sample begins.
    fn begin(&mut self, numbers: &str, addresses: &str) -> Result<(), DecodeError> {
        let malformed = DecodeError::Malformed { what: "a stack without its numbers" };
        let numbers: Option<Vec<i64>> = numbers
            .split([' ', ':', '[', ']'])
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().ok())
            .take(5)
            .collect();
        let mut open = Open::default();
        match (self.form, numbers.as_deref().ok_or(malformed.clone())?) {
            (Form::Count, [count]) => open.values = vec![*count],
            (Form::Heap { rate }, [inuse_objects, inuse_bytes, alloc_objects, alloc_bytes]) => {
                let (alloc, inuse) =
                    (unsampled(*alloc_objects, *alloc_bytes, rate), unsampled(*inuse_objects, *inuse_bytes, rate));
                open.values = vec![alloc.0, alloc.1, inuse.0, inuse.1];
                let size = alloc_bytes.checked_div(*alloc_objects).unwrap_or(0);
                open.labels.push((self.builder.text("bytes"), LabelValue::Number(size, self.builder.text(""))));
            }
            (Form::Contention { cycles_per_second }, [cycles, count]) => {
                open.values = vec![*count, nanoseconds(*cycles, cycles_per_second)];
            }
            _ => return Err(malformed),
        }
        for address in addresses.split_whitespace() {
            let address = address.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
            self.take()?;
            open.addresses.push(address.ok_or(DecodeError::Malformed { what: "an address" })?);
        }
        self.open = Some(open);
        Ok(())
    }

    /// A line that begins with `#`: frames, labels, memory.
    fn remark(&mut self, rest: &str) -> Result<(), DecodeError> {
        if let Some(open) = &mut self.open {
            if let Some(labels) = rest.trim_start().strip_prefix("labels:") {
                for (name, value) in quoted::labels(labels).unwrap_or_default() {
                    open.labels.push((self.builder.text(&name), LabelValue::Text(self.builder.text(&value))));
                }
                return Ok(());
            }
            if rest.starts_with('\t') {
                return self.frame(rest);
            }
            self.close()?;
        }
        if rest.trim() == "runtime.MemStats" {
            self.in_memory = true;
        } else if let Some((key, value)) = rest.split_once('=').filter(|_| self.in_memory) {
            memory_line(key.trim(), value.trim(), &mut self.memory);
        }
        Ok(())
    }

    fn frame(&mut self, rest: &str) -> Result<(), DecodeError> {
        self.take()?;
        let mut cells = rest.split('\t').filter(|cell| !cell.is_empty());
        let digits = cells.next().and_then(|address| address.trim().strip_prefix("0x"));
        let address = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
        let name = cells.next().unwrap_or("");
        let name = name.rsplit_once("+0x").map_or(name, |(name, _)| name);
        let place = cells.next().unwrap_or("").trim_end();
        let (file, line) = place.rsplit_once(':').unwrap_or((place, ""));
        let lines = if name.is_empty() {
            Vec::new()
        } else {
            vec![Line { function: self.builder.function(name, file, 0), line: line.parse().unwrap_or(0) }]
        };
        let location = self.builder.location(address, lines);
        if let Some(open) = &mut self.open {
            open.stack.push(location);
        }
        let limit = self.limits.functions_max + self.limits.locations_max;
        if self.builder.frames_len() > limit {
            return Err(DecodeError::TooMuch { what: "functions and locations", limit: limit as u64 });
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(), DecodeError> {
        self.entries += 1;
        let limit = self.limits.stack_entries_max;
        if self.entries > limit {
            return Err(DecodeError::TooMuch { what: "stack entries", limit: limit as u64 });
        }
        Ok(())
    }

    /// The open sample is complete.
    fn close(&mut self) -> Result<(), DecodeError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if self.builder.samples_len() >= self.limits.samples_max {
            return Err(DecodeError::TooMuch { what: "samples", limit: self.limits.samples_max as u64 });
        }
        if open.stack.is_empty() {
            // A program without symbols: addresses are all there is.
            open.stack = open.addresses.iter().map(|address| self.builder.location(*address, Vec::new())).collect();
        }
        self.builder.sample(open.stack, open.values, open.labels);
        Ok(())
    }

    fn finish(mut self) -> Result<TextProfile, DecodeError> {
        self.close()?;
        Ok(TextProfile {
            name: self.name,
            profile: self.builder.finish(),
            memory: self.memory,
            sampling_period: self.sampling_period,
        })
    }
}

/// The name and the form that the first line tells.
fn form_of(header: &str) -> Option<(&str, Form)> {
    if let Some(rest) = header.strip_prefix("--- ") {
        return Some((rest.trim_end().strip_suffix(':')?, Form::Contention { cycles_per_second: 0.0 }));
    }
    let (name, rest) = header.split_once(" profile: ")?;
    if let Some(total) = rest.strip_prefix("total ") {
        total.trim_end().parse::<u64>().ok()?;
        return Some((name, Form::Count));
    }
    let (_, rate) = rest.split_once("@ heap/")?;
    // Twice the rate stands there, as other heap profilers have it.
    let rate = rate.trim_end().parse::<i64>().ok()? / 2;
    (name == "heap").then_some((name, Form::Heap { rate }))
}

/// Objects and bytes that `objects` and `bytes` sampled every `rate` bytes on average stand for: an allocation of size
/// s is sampled with probability 1 − e^(−s/rate).
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an estimate")]
pub fn unsampled(objects: i64, bytes: i64, rate: i64) -> (i64, i64) {
    if objects <= 0 || bytes <= 0 {
        return (0, 0);
    }
    if rate <= 1 {
        // Every allocation is taken, or none and it is unknown how.
        return (objects, bytes);
    }
    let mean_bytes = bytes as f64 / objects as f64;
    let scale = 1.0 / (1.0 - (-mean_bytes / rate as f64).exp());
    ((objects as f64 * scale) as i64, (bytes as f64 * scale) as i64)
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an estimate")]
fn nanoseconds(cycles: i64, cycles_per_second: f64) -> i64 {
    if cycles_per_second > 0.0 { (cycles as f64 / cycles_per_second * 1e9) as i64 } else { 0 }
}

/// A line of `MemStats`, under the names that `/debug/vars` has.
fn memory_line(key: &str, value: &str, memory: &mut Map<String, Value>) {
    let number = |text: &str| text.trim().parse::<Number>().ok().map(Value::Number);
    let mut put = |name: String, value: Option<Value>| {
        if let Some(value) = value {
            memory.insert(name, value);
        }
    };
    match key {
        "Stack" | "MSpan" | "MCache" => {
            let Some((inuse, sys)) = value.split_once('/') else { return };
            put(format!("{key}Inuse"), number(inuse));
            put(format!("{key}Sys"), number(sys));
        }
        "PauseNs" | "PauseEnd" => {
            let list = value.trim_start_matches('[').trim_end_matches(']').split_whitespace().take(LIST_MAX);
            put(key.to_owned(), Some(Value::Array(list.filter_map(number).collect())));
        }
        "Alloc" | "TotalAlloc" | "Sys" | "Lookups" | "Mallocs" | "Frees" | "HeapAlloc" | "HeapSys" | "HeapIdle"
        | "HeapInuse" | "HeapReleased" | "HeapObjects" | "BuckHashSys" | "GCSys" | "OtherSys" | "NextGC" | "LastGC"
        | "NumGC" | "NumForcedGC" | "GCCPUFraction" => put(key.to_owned(), number(value)),
        _ => {}
    }
}
