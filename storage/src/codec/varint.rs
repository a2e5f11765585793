//! Integers in as few whole bytes as they need: seven bits a byte, low bits first, the top bit says "more follows".
//! Signed ones are zigzag-folded first, so that small negative numbers stay short.

/// Most bytes one integer takes.
pub const VARINT_BYTES_MAX: usize = 10;

/// Appends `value`.
pub fn push_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(super::bits::low_byte(value & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(super::bits::low_byte(value));
}

/// Appends `value`, zigzag-folded.
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    push_u64(out, zigzag(value));
}

/// Takes an integer off the front of `bytes`. `None` if it does not end or does not fit; `bytes` is then unchanged.
pub fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().enumerate().take(VARINT_BYTES_MAX) {
        if at == VARINT_BYTES_MAX - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = bytes.get(at + 1..)?;
            return Some(value);
        }
    }
    None
}

/// Takes a zigzag-folded integer off the front of `bytes`.
pub fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    take_u64(bytes).map(unzigzag)
}

/// Takes an integer that must be at most `max` off the front of `bytes`.
pub fn take_usize(bytes: &mut &[u8], max: usize) -> Option<usize> {
    let mut rest = *bytes;
    let value = usize::try_from(take_u64(&mut rest)?).ok().filter(|&value| value <= max)?;
    *bytes = rest;
    Some(value)
}

/// Folds the sign into the lowest bit.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Undoes [`zigzag`].
pub fn unzigzag(folded: u64) -> i64 {
    (folded >> 1).cast_signed() ^ -((folded & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_end_or_fit_is_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]] {
            let mut rest = bytes;
            assert_eq!(take_u64(&mut rest), None);
            assert_eq!(rest, bytes);
        }
        assert_eq!(take_usize(&mut &[5][..], 4), None);
        assert_eq!(take_usize(&mut &[4][..], 4), Some(4));
    }

    proptest! {
        #[test]
        fn integers_come_back(value in any::<i64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            push_i64(&mut bytes, value);
            push_u64(&mut bytes, value.cast_unsigned());
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_i64(&mut rest), Some(value));
            prop_assert_eq!(take_u64(&mut rest), Some(value.cast_unsigned()));
            prop_assert!(rest.is_empty());
        }
    }
}
