//! Gathers exemplars: their labels, value and time.
//!
//! Exemplars are an extra to samples, so that one that can't be taken is left out, and nothing else with it.

#![warn(clippy::indexing_slicing)]

use model::exemplar::EXEMPLAR_LABEL_CHARS_MAX;
use model::{Exemplar, LabelLimits, LabelsBuilder};

use super::v1::read_label;
use crate::wire::{Coding, Field, Reader, WireError};

/// Most bytes of one character in UTF-8.
const CHAR_BYTES_MAX: usize = 4;

/// Gathers one exemplar after the other.
#[derive(Debug, Default)]
pub(super) struct ExemplarReader {
    labels: LabelsBuilder,
    label_chars: usize,
    /// Whether it has shown that this can't be taken.
    is_bad: bool,
    value: f64,
    timestamp_ms: i64,
}

impl ExemplarReader {
    /// Reads a message of remote write 1.0; nothing when the exemplar can't be taken.
    pub(super) fn read(&mut self, mut reader: Reader<'_>, limits: &LabelLimits) -> Result<Option<Exemplar>, WireError> {
        self.clear();
        while let Some(field) = reader.next_field("Exemplar")? {
            if field.number == 1 {
                field.expect(Coding::Bytes, "Exemplar.labels")?;
                let (name, value) = read_label(reader.message("Exemplar.labels")?)?;
                self.push_label(name, value);
            } else {
                self.read_field(&mut reader, field)?;
            }
        }
        Ok(self.finish(limits))
    }

    /// Forgets the exemplar.
    pub(super) fn clear(&mut self) {
        self.labels.clear();
        (self.label_chars, self.is_bad, self.value, self.timestamp_ms) = (0, false, 0.0, 0);
    }

    /// Adds a label.
    pub(super) fn push_label(&mut self, name: &[u8], value: &[u8]) {
        if self.is_bad {
            return;
        }
        let is_short = name.len().saturating_add(value.len()) <= EXEMPLAR_LABEL_CHARS_MAX * CHAR_BYTES_MAX;
        let texts = if is_short { std::str::from_utf8(name).ok().zip(std::str::from_utf8(value).ok()) } else { None };
        let Some((name, value)) = texts else {
            self.is_bad = true;
            return;
        };
        self.label_chars += name.chars().count() + value.chars().count();
        if self.label_chars > EXEMPLAR_LABEL_CHARS_MAX {
            self.is_bad = true;
        } else {
            self.labels.push(name, value);
        }
    }

    /// Says that the exemplar can't be taken.
    pub(super) fn refuse(&mut self) {
        self.is_bad = true;
    }

    /// Reads any field but labels; both versions number them alike.
    pub(super) fn read_field(&mut self, reader: &mut Reader<'_>, field: Field) -> Result<(), WireError> {
        match field.number {
            2 => {
                field.expect(Coding::Fixed64, "Exemplar.value")?;
                self.value = reader.double("Exemplar.value")?;
            }
            3 => {
                field.expect(Coding::Varint, "Exemplar.timestamp")?;
                self.timestamp_ms = reader.varint("Exemplar.timestamp")?.cast_signed();
            }
            _ => reader.skip(field.coding, "Exemplar, unknown field")?,
        }
        Ok(())
    }

    /// The exemplar, or nothing when it can't be taken: its labels are no label set or too long, or it has no time.
    pub(super) fn finish(&mut self, limits: &LabelLimits) -> Option<Exemplar> {
        if self.is_bad || self.timestamp_ms == 0 {
            return None;
        }
        let labels = self.labels.pack(limits).ok()?.to_owned();
        Some(Exemplar { labels, value: self.value, timestamp_ms: self.timestamp_ms })
    }
}
