//! How values on a shelf are written: bincode 2 in its standard configuration (little-endian, variable-length integers), with a bound on what
//! reading reserves. What the values are is said where they are made, and drawn in `docs/format-alerting.md`.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

/// Most bytes that one value may make the decoder reserve.
const VALUE_BYTES_MAX: usize = 16 << 20;
const CODING: Configuration<LittleEndian, Varint, Limit<VALUE_BYTES_MAX>> = bincode::config::standard().with_limit();

pub(crate) fn encode(value: impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(value, CODING).expect("plain values are written into memory")
}

/// The value that is all of `bytes`.
///
/// # Errors
///
/// When it is damaged, or bytes are left over.
pub(crate) fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, String> {
    match bincode::decode_from_slice(bytes, CODING) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(format!("{} bytes are left over", bytes.len() - used)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_values_are_read() {
        let bytes = encode((7_u32, "a".to_owned()));
        assert_eq!(bytes, [7, 1, b'a']);
        assert_eq!(decode::<(u32, String)>(&bytes), Ok((7, "a".to_owned())));
        assert_eq!(decode::<u32>(&bytes), Err("2 bytes are left over".to_owned()));
        assert!(decode::<(u32, String)>(&bytes[..2]).is_err());
        // 2^32 bytes of text.
        assert!(decode::<String>(&[253, 0, 0, 0, 0, 1, 0, 0, 0]).is_err_and(|error| error.contains("Limit")));
    }
}
