//! Any bytes as a chunk in any coding: an error or samples, never a panic, never more than declared.

use model::Samples;
use storage::codec::times::{self, TimeCoding};
use storage::codec::values::{self, ValueCoding};
use storage::codec::{CHUNK_SAMPLES_MAX, gorilla};

use crate::input::Input;

/// First the family, the coding's tag and the declared count, then the chunk.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (family, tag) = (input.byte(), input.byte());
    let count = usize::from(input.below(u16::try_from(CHUNK_SAMPLES_MAX + 2).expect("fits")));
    let bytes = input.rest();
    match family % 3 {
        0 => {
            let mut samples = Samples::default();
            drop(gorilla::decode(bytes, u32::try_from(count).expect("fits"), &mut samples));
            assert!(samples.len() <= count, "no more samples than declared");
            assert_eq!(samples.timestamps_ms.len(), samples.values.len());
        }
        1 => {
            let mut timestamps_ms = Vec::new();
            if let Ok(coding) = TimeCoding::from_tag(tag)
                && times::decode(coding, bytes, count, &mut timestamps_ms).is_ok()
            {
                assert_eq!(timestamps_ms.len(), count, "a decoded column has the declared length");
            }
        }
        _ => {
            let mut column = Vec::new();
            if let Ok(coding) = ValueCoding::from_tag(tag)
                && values::decode(coding, bytes, count, &mut column).is_ok()
            {
                assert_eq!(column.len(), count, "a decoded column has the declared length");
            }
        }
    }
}
