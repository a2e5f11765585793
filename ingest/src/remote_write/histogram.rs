//! Walks the message of one native histogram, of remote write 1.0 and 2.0 alike.
//!
//! Owns the bounds while reading: no list grows past what one histogram may have, whatever the bytes declare. What the
//! fields mean together is told by [`model::remote_write::from_wire`].

#![warn(clippy::indexing_slicing)]

use model::Histogram;
use model::histogram::{BUCKETS_MAX, HistogramError};
use model::remote_write::{BucketSpan, WireCount, WireHistogram, WireHistogramError, WireZeroCount, from_wire};
use model::sample::is_stale_marker;

use crate::wire::{Coding, Field, Reader, WireError};

/// Reads histograms, keeping its memory from one to the next.
#[derive(Debug, Default)]
pub(super) struct HistogramReader {
    wire: WireHistogram,
    /// Elements of lists that were not kept, as there were too many.
    surplus: usize,
}

/// A histogram that was read, with its times as they were sent.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) timestamp_ms: i64,
    pub(super) start_ms: i64,
    /// The histogram, or why it is none.
    pub(super) histogram: Result<Histogram, WireHistogramError>,
}

impl HistogramReader {
    /// Reads the message that `reader` is at.
    pub(super) fn read(&mut self, mut reader: Reader<'_>) -> Result<Read, WireError> {
        self.clear();
        while let Some(field) = reader.next_field("Histogram")? {
            match field.number {
                1..=3 | 5..=7 => self.read_count(&mut reader, field)?,
                4 => {
                    field.expect(Coding::Varint, "Histogram.schema")?;
                    self.wire.schema = reader.zigzag32("Histogram.schema")?;
                }
                8 | 11 => {
                    let name = if field.number == 8 { "Histogram.negative_spans" } else { "Histogram.positive_spans" };
                    field.expect(Coding::Bytes, name)?;
                    let span = read_span(reader.message(name)?)?;
                    let spans =
                        if field.number == 8 { &mut self.wire.negative_spans } else { &mut self.wire.positive_spans };
                    keep(spans, span, &mut self.surplus);
                }
                9 | 12 => self.read_deltas(&mut reader, field)?,
                10 | 13 | 16 => self.read_doubles(&mut reader, field)?,
                14 => {
                    field.expect(Coding::Varint, "Histogram.reset_hint")?;
                    self.wire.reset_hint = reader.varint32("Histogram.reset_hint")?.cast_signed();
                }
                15 => {
                    field.expect(Coding::Varint, "Histogram.timestamp")?;
                    self.wire.timestamp = reader.varint("Histogram.timestamp")?.cast_signed();
                }
                17 => {
                    field.expect(Coding::Varint, "Histogram.start_timestamp")?;
                    self.wire.start_timestamp = reader.varint("Histogram.start_timestamp")?.cast_signed();
                }
                _ => reader.skip(field.coding, "Histogram, unknown field")?,
            }
        }
        let histogram = if self.surplus > 0 && !is_stale_marker(self.wire.sum) {
            Err(HistogramError::TooManyBuckets { found: BUCKETS_MAX + self.surplus }.into())
        } else {
            from_wire(&self.wire)
        };
        Ok(Read { timestamp_ms: self.wire.timestamp, start_ms: self.wire.start_timestamp, histogram })
    }

    /// Counts, sum and zero threshold.
    fn read_count(&mut self, reader: &mut Reader<'_>, field: Field) -> Result<(), WireError> {
        let wire = &mut self.wire;
        let mut whole = |name| field.expect(Coding::Varint, name).and_then(|()| reader.varint(name));
        match field.number {
            1 => wire.count = Some(WireCount::Int(whole("Histogram.count_int")?)),
            6 => wire.zero_count = Some(WireZeroCount::Int(whole("Histogram.zero_count_int")?)),
            _ => {
                let mut double = |name| field.expect(Coding::Fixed64, name).and_then(|()| reader.double(name));
                match field.number {
                    2 => wire.count = Some(WireCount::Float(double("Histogram.count_float")?)),
                    3 => wire.sum = double("Histogram.sum")?,
                    5 => wire.zero_threshold = double("Histogram.zero_threshold")?,
                    _ => wire.zero_count = Some(WireZeroCount::Float(double("Histogram.zero_count_float")?)),
                }
            }
        }
        Ok(())
    }

    fn read_deltas(&mut self, reader: &mut Reader<'_>, field: Field) -> Result<(), WireError> {
        let (deltas, name) = match field.number {
            9 => (&mut self.wire.negative_deltas, "Histogram.negative_deltas"),
            _ => (&mut self.wire.positive_deltas, "Histogram.positive_deltas"),
        };
        let surplus = &mut self.surplus;
        reader.each(field, Coding::Varint, name, |element| {
            keep(deltas, element.zigzag64(name)?, surplus);
            Ok(())
        })
    }

    fn read_doubles(&mut self, reader: &mut Reader<'_>, field: Field) -> Result<(), WireError> {
        let (doubles, name) = match field.number {
            10 => (&mut self.wire.negative_counts, "Histogram.negative_counts"),
            13 => (&mut self.wire.positive_counts, "Histogram.positive_counts"),
            _ => (&mut self.wire.custom_values, "Histogram.custom_values"),
        };
        let surplus = &mut self.surplus;
        reader.each(field, Coding::Fixed64, name, |element| {
            keep(doubles, element.double(name)?, surplus);
            Ok(())
        })
    }

    /// Forgets the histogram, keeps the memory of its lists.
    fn clear(&mut self) {
        let emptied = std::mem::take(&mut self.wire);
        self.wire = WireHistogram {
            negative_spans: cleared(emptied.negative_spans),
            negative_deltas: cleared(emptied.negative_deltas),
            negative_counts: cleared(emptied.negative_counts),
            positive_spans: cleared(emptied.positive_spans),
            positive_deltas: cleared(emptied.positive_deltas),
            positive_counts: cleared(emptied.positive_counts),
            custom_values: cleared(emptied.custom_values),
            ..WireHistogram::default()
        };
        self.surplus = 0;
    }
}

fn cleared<T>(mut list: Vec<T>) -> Vec<T> {
    list.clear();
    list
}

/// Adds `element` to a list that has room, else to the `surplus`.
fn keep<T>(list: &mut Vec<T>, element: T, surplus: &mut usize) {
    if list.len() < BUCKETS_MAX { list.push(element) } else { *surplus += 1 }
}

fn read_span(mut reader: Reader<'_>) -> Result<BucketSpan, WireError> {
    let mut span = BucketSpan::default();
    while let Some(field) = reader.next_field("BucketSpan")? {
        match field.number {
            1 => {
                field.expect(Coding::Varint, "BucketSpan.offset")?;
                span.offset = reader.zigzag32("BucketSpan.offset")?;
            }
            2 => {
                field.expect(Coding::Varint, "BucketSpan.length")?;
                span.length = reader.varint32("BucketSpan.length")?;
            }
            _ => reader.skip(field.coding, "BucketSpan, unknown field")?,
        }
    }
    Ok(span)
}
