//! Reads the protobuf wire format in place: keys, varints, fixed numbers, runs of bytes.
//!
//! Nothing is copied or allocated, every position in an error is one in the whole body, and a nested message is
//! bounded by the message around it. Which fields mean what is told by the callers. Groups, which protobuf
//! gave up long ago, are refused rather than followed into their depth.

#![warn(clippy::indexing_slicing)]

/// Where and why bytes are not the wire format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at_byte}, {field}: {problem}")]
pub struct WireError {
    /// Position in the decompressed body, counted from 0.
    pub at_byte: usize,
    /// The message or field that was read.
    pub field: &'static str,
    /// What was wrong there.
    pub problem: WireProblem,
}

/// What was wrong with the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum WireProblem {
    /// The message ends too early.
    #[error("{needed_bytes} bytes needed, {left_bytes} left in the message")]
    Truncated { needed_bytes: u64, left_bytes: usize },
    /// A varint of more than 64 bits.
    #[error("a varint has more than 64 bits")]
    Varint,
    /// A key with field number 0, a number above 2^29 or a wire type that does not exist.
    #[error("{key:#x} is no field key")]
    Key { key: u64 },
    /// A group.
    #[error("groups are not spoken here")]
    Group,
    /// A field in another coding than its type has.
    #[error("field {number} is coded as {found:?}, expected {expected:?}")]
    Coding { number: u32, found: Coding, expected: Coding },
    /// A string that is not UTF-8.
    #[error("the text is not UTF-8")]
    Utf8,
}

/// How a field's value is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// A varint.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// A length and as many bytes.
    Bytes,
    /// Four bytes.
    Fixed32,
}

/// A field's number and coding; its value comes next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) coding: Coding,
    at_byte: usize,
}

impl Field {
    /// The error unless the field is coded as `expected`.
    pub(crate) fn expect(self, expected: Coding, field: &'static str) -> Result<(), WireError> {
        if self.coding == expected {
            return Ok(());
        }
        let problem = WireProblem::Coding { number: self.number, found: self.coding, expected };
        Err(WireError { at_byte: self.at_byte, field, problem })
    }
}

/// A place in one message. `bytes` is the body up to the message's end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Position in the body.
    pub(crate) fn at_byte(&self) -> usize {
        self.at
    }

    /// What is left of the message.
    #[inline]
    pub(crate) fn rest(&self) -> &'b [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The place so many bytes further on, which are there.
    #[inline]
    pub(crate) fn behind(self, bytes: usize) -> Self {
        Self { at: self.at.saturating_add(bytes).min(self.bytes.len()), ..self }
    }

    /// Hands every element of a repeated field of numbers to `take`, which reads one: all of a packed run, or the one
    /// that comes next. `coding` is that of one element.
    pub(crate) fn each(
        &mut self,
        field: Field,
        coding: Coding,
        name: &'static str,
        mut take: impl FnMut(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        if field.coding != Coding::Bytes {
            field.expect(coding, name)?;
            return take(self);
        }
        let mut packed = self.message(name)?;
        while packed.at < packed.bytes.len() {
            take(&mut packed)?;
        }
        Ok(())
    }

    /// The next field's key, or nothing at the end of the message.
    #[inline]
    pub(crate) fn next_field(&mut self, message: &'static str) -> Result<Option<Field>, WireError> {
        let at_byte = self.at;
        if at_byte >= self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint(message)?;
        let error = |problem| Err(WireError { at_byte, field: message, problem });
        let coding = match key & 7 {
            0 => Coding::Varint,
            1 => Coding::Fixed64,
            2 => Coding::Bytes,
            5 => Coding::Fixed32,
            3 | 4 => return error(WireProblem::Group),
            _ => return error(WireProblem::Key { key }),
        };
        match u32::try_from(key) {
            Ok(key32) if key32 >= 8 => Ok(Some(Field { number: key32 >> 3, coding, at_byte })),
            _ => error(WireProblem::Key { key }),
        }
    }

    /// Steps over the value of a field that is not known here.
    pub(crate) fn skip(&mut self, coding: Coding, field: &'static str) -> Result<(), WireError> {
        match coding {
            Coding::Varint => self.varint(field).map(drop),
            Coding::Fixed64 => self.take(8, field).map(drop),
            Coding::Bytes => self.bytes(field).map(drop),
            Coding::Fixed32 => self.take(4, field).map(drop),
        }
    }

    #[inline]
    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u64, WireError> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(field),
        }
    }

    /// An int32 or uint32: the low half of the varint, as protobuf has it, since senders extend the sign of negative
    /// ones.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    pub(crate) fn varint32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.varint(field).map(|varint| varint as u32)
    }

    /// A sint32, in zigzag coding.
    pub(crate) fn zigzag32(&mut self, field: &'static str) -> Result<i32, WireError> {
        let coded = self.varint32(field)?;
        Ok((coded >> 1).cast_signed() ^ -((coded & 1).cast_signed()))
    }

    /// A sint64, in zigzag coding.
    pub(crate) fn zigzag64(&mut self, field: &'static str) -> Result<i64, WireError> {
        let coded = self.varint(field)?;
        Ok((coded >> 1).cast_signed() ^ -((coded & 1).cast_signed()))
    }

    pub(crate) fn double(&mut self, field: &'static str) -> Result<f64, WireError> {
        let bytes = self.take(8, field)?;
        let bytes = bytes.first_chunk().copied().unwrap_or_default();
        Ok(f64::from_le_bytes(bytes))
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'b str, WireError> {
        let bytes = self.bytes(field)?;
        let start = self.at - bytes.len();
        std::str::from_utf8(bytes).map_err(|error| WireError {
            at_byte: start + error.valid_up_to(),
            field,
            problem: WireProblem::Utf8,
        })
    }

    /// The message that comes next in the field `number`, below 16, if its key and its length take no more bytes than they
    /// have to, three at the most. Else, and if there is none, the place stays as it is.
    #[inline]
    pub(crate) fn short_message(&mut self, number: u8) -> Option<Self> {
        let &[key, low, high] = self.rest().first_chunk()?;
        let (length, head_bytes) = match (low, high) {
            (0..0x80, _) => (usize::from(low), 2),
            (_, 1..0x80) => (usize::from(low & 0x7f) | usize::from(high) << 7, 3),
            _ => return None,
        };
        let at = self.at + head_bytes;
        let bytes = self.bytes.get(..at + length).filter(|_| key == number << 3 | 2)?;
        self.at = at + length;
        Some(Self { bytes, at })
    }

    /// The nested message that comes next.
    pub(crate) fn message(&mut self, field: &'static str) -> Result<Self, WireError> {
        let length = self.bytes(field)?.len();
        Ok(Self { bytes: self.bytes.get(..self.at).unwrap_or_default(), at: self.at - length })
    }

    #[inline]
    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'b [u8], WireError> {
        let length = self.varint(field)?;
        self.take(length, field)
    }

    #[inline]
    fn take(&mut self, length: u64, field: &'static str) -> Result<&'b [u8], WireError> {
        let left = self.bytes.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(length).ok().and_then(|length| left.get(..length));
        let Some(taken) = taken else {
            let problem = WireProblem::Truncated { needed_bytes: length, left_bytes: left.len() };
            return Err(WireError { at_byte: self.at, field, problem });
        };
        self.at += taken.len();
        Ok(taken)
    }

    fn long_varint(&mut self, field: &'static str) -> Result<u64, WireError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at) else {
                let problem = WireProblem::Truncated { needed_bytes: 1, left_bytes: 0 };
                return Err(WireError { at_byte: self.at, field, problem });
            };
            self.at += 1;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError { at_byte: start, field, problem: WireProblem::Varint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_varint(bytes: &[u8], want: &Result<u64, WireProblem>) {
        let mut reader = Reader::new(bytes);
        assert_eq!(&reader.varint("x").map_err(|error| error.problem), want, "{bytes:x?}");
    }

    #[test]
    fn varints() {
        check_varint(&[0], &Ok(0));
        check_varint(&[0x7f], &Ok(127));
        check_varint(&[0x80, 1], &Ok(128));
        check_varint(&[0x80, 0], &Ok(0));
        check_varint(&[0xff; 9], &Err(WireProblem::Truncated { needed_bytes: 1, left_bytes: 0 }));
        check_varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &Ok(u64::MAX));
        check_varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], &Err(WireProblem::Varint));
        check_varint(&[0x80; 11], &Err(WireProblem::Varint));
        check_varint(&[], &Err(WireProblem::Truncated { needed_bytes: 1, left_bytes: 0 }));
    }

    #[track_caller]
    fn check_key(bytes: &[u8], want: &Result<(u32, Coding), WireProblem>) {
        let field = Reader::new(bytes).next_field("x").map(|field| field.expect("not at the end"));
        let got = field.map(|field| (field.number, field.coding)).map_err(|error| error.problem);
        assert_eq!(&got, want, "{bytes:x?}");
    }

    #[test]
    fn keys() {
        check_key(&[0x0a], &Ok((1, Coding::Bytes)));
        check_key(&[0x19], &Ok((3, Coding::Fixed64)));
        check_key(&[0x1d], &Ok((3, Coding::Fixed32)));
        check_key(&[0x10], &Ok((2, Coding::Varint)));
        check_key(&[0x02], &Err(WireProblem::Key { key: 2 }));
        check_key(&[0x0e], &Err(WireProblem::Key { key: 14 }));
        check_key(&[0x0b], &Err(WireProblem::Group));
        check_key(&[0xff, 0xff, 0xff, 0xff, 0x0f], &Err(WireProblem::Key { key: 0xffff_ffff }));
        check_key(&[0x80, 0x80, 0x80, 0x80, 0x10], &Err(WireProblem::Key { key: 1 << 32 }));
    }

    #[test]
    fn a_short_message_is_what_a_message_is() {
        let of_length = |length: usize| {
            let mut bytes = vec![0x0a];
            prost::encoding::encode_varint(length as u64, &mut bytes);
            bytes.extend(vec![7; length]);
            bytes
        };
        for length in [1, 127, 128, 300, 16_383] {
            let bytes = of_length(length);
            let (mut short, mut long) = (Reader::new(&bytes), Reader::new(&bytes));
            let message = short.short_message(1).expect("short");
            long.next_field("x").expect("whole").expect("a field");
            let same = long.message("x").expect("whole");
            assert_eq!((message.rest(), message.at_byte(), short.at), (same.rest(), same.at_byte(), long.at));
            assert!(Reader::new(&bytes).short_message(2).is_none());
            let cut = bytes.get(..bytes.len() - 1).expect("not empty");
            let mut reader = Reader::new(cut);
            assert!(reader.short_message(1).is_none() && reader.at == 0, "{length}");
        }
        let others =
            [&of_length(16_384)[..], &[0x0a, 0x80, 0], &[0x0a, 0x81, 0x80, 0, 7], &[0x0a, 0], &[0x08, 1, 1], &[]];
        for bytes in others {
            assert!(Reader::new(bytes).short_message(1).is_none(), "{} bytes", bytes.len());
        }
    }

    #[test]
    fn a_nested_message_ends_with_its_length_and_keeps_positions() {
        let mut reader = Reader::new(&[9, 3, 1, 2, 3, 7]);
        assert_eq!(reader.varint("x"), Ok(9));
        let mut nested = reader.message("x").expect("fits");
        assert_eq!([nested.varint("x"), nested.varint("x"), nested.varint("x")], [Ok(1), Ok(2), Ok(3)]);
        assert!(nested.next_field("x").expect("at the end").is_none());
        assert_eq!(nested.varint("x").expect_err("at the end").at_byte, 5);
        assert_eq!(reader.varint("x"), Ok(7));
        let error = Reader::new(&[4, 1, 2, 3]).message("x").expect_err("one byte short");
        assert_eq!((error.at_byte, error.problem), (1, WireProblem::Truncated { needed_bytes: 4, left_bytes: 3 }));
        let error = Reader::new(&[3, b'a', 0xff, b'b']).text("x").expect_err("not UTF-8");
        assert_eq!((error.at_byte, error.problem), (2, WireProblem::Utf8));
    }
}
