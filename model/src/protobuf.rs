//! Protobuf read in place, without copies, and written: for messages of which few fields matter, as in profiles. It knows no message.
//!
//! <https://protobuf.dev/programming-guides/encoding/>
#![warn(clippy::indexing_slicing)]

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

const NO_PROTOBUF: Malformed = Malformed("it is no protobuf");
const CUT_OFF: Malformed = Malformed("its end is missing");

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// A number.
    Number(u64),
    /// A text, a message, or packed numbers.
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// The bytes.
    ///
    /// # Errors
    ///
    /// When it is a number.
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err(Malformed("a number stands where a message should")),
        }
    }

    /// The number.
    ///
    /// # Errors
    ///
    /// When it is no number.
    pub fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) => Err(Malformed("a message stands where a number should")),
        }
    }

    /// The number, with a sign.
    ///
    /// # Errors
    ///
    /// When it is no number.
    pub fn signed(self) -> Result<i64, Malformed> {
        self.number().map(u64::cast_signed)
    }

    /// Calls `each` for every number of a repeated field, packed or not.
    ///
    /// # Errors
    ///
    /// Those of `each`, and when packed numbers are cut off.
    pub fn numbers<E: From<Malformed>>(self, mut each: impl FnMut(u64) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Number(number) => each(number),
            Self::Bytes(mut rest) => {
                while !rest.is_empty() {
                    each(varint(&mut rest)?)?;
                }
                Ok(())
            }
        }
    }
}

/// The fields of a message, one after the other.
#[derive(Debug, Clone)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Those of `message`; behind an error there is nothing.
    pub fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn read(&mut self) -> Result<(u64, Field<'a>), Malformed> {
        let tag = varint(&mut self.0)?;
        let number = tag >> 3;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut self.0)?),
            1 => Field::Bytes(self.take(8)?),
            2 => {
                let length = varint(&mut self.0)?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Bytes(self.take(4)?),
            _ => return Err(NO_PROTOBUF),
        };
        if number == 0 { Err(NO_PROTOBUF) } else { Ok((number, field)) }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| CUT_OFF)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

/// Longest varint of 64 bits.
const VARINT_BYTES_MAX: u32 = 10;

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for at in 0..VARINT_BYTES_MAX {
        let (first, after) = rest.split_first().ok_or(CUT_OFF)?;
        *rest = after;
        // What is above 64 bits is dropped, as other readers do.
        number |= u64::from(first & 0x7f) << (7 * at);
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(NO_PROTOBUF)
}

/// Writes a number of 64 bits, seven bits a byte.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Writes field `number`; zero, the default, is left out.
pub fn put_number(out: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        put_varint(out, number << 3);
        put_varint(out, value);
    }
}

/// Writes field `number`: a text or a message.
pub fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes field `number`: packed numbers; none, the default, is left out.
pub fn put_numbers(out: &mut Vec<u8>, number: u64, values: impl Iterator<Item = u64>) {
    let mut packed = Vec::new();
    values.for_each(|value| put_varint(&mut packed, value));
    if !packed.is_empty() {
        put_bytes(out, number, &packed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(varint(&mut bytes.as_slice()), Ok(number));
        }
        assert_eq!(varint(&mut [0x80; 20].as_slice()), Err(NO_PROTOBUF));
        assert_eq!(varint(&mut [].as_slice()), Err(CUT_OFF));
    }

    #[test]
    fn fields_of_every_wire_type() {
        let message = [0x08, 5, 0x12, 1, b'x', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let fields: Result<Vec<_>, _> = Fields::of(&message).collect();
        let want = [
            (1, Field::Number(5)),
            (2, Field::Bytes(b"x")),
            (3, Field::Bytes(&[1, 2, 3, 4])),
            (4, Field::Bytes(&[1, 2, 3, 4, 5, 6, 7, 8])),
        ];
        assert_eq!(fields.as_deref(), Ok(&want[..]));
        for broken in [&[0x0b][..], &[0x12, 5, 1], &[0x08], &[0x00, 1], &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert!(Fields::of(broken).any(|field| field.is_err()), "{broken:?}");
        }
    }

    #[test]
    fn repeated_numbers_packed_or_not() {
        let mut all = Vec::new();
        for field in [Field::Number(7), Field::Bytes(&[1, 0x80, 1])] {
            let read = field.numbers::<Malformed>(|number| {
                all.push(number);
                Ok(())
            });
            assert_eq!(read, Ok(()));
        }
        assert_eq!(all, [7, 1, 128]);
    }
}
