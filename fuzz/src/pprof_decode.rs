//! Any bytes as a profile, in protobuf and in the text forms: what is read is within limits, can be walked, counted and
//! written, and is read back the same.

use agent::go::profile::census::{DumpCensus, from_profile};
use agent::go::profile::dump::Dump;
use agent::go::profile::encode::encode_plain;
use agent::go::profile::index::Index;
use agent::go::profile::model::{LabelValue, Profile};
use agent::go::profile::table::{Quantity, by_function};
use agent::go::profile::text;
use agent::go::profile::{Limits, decode};

const LIMITS: Limits = Limits {
    inflated_bytes_max: 1 << 20,
    samples_max: 1_000,
    locations_max: 1_000,
    functions_max: 1_000,
    texts_max: 1_000,
    sample_types_max: 8,
    stack_entries_max: 10_000,
};

/// First the form, then the bytes.
pub fn run(data: &[u8]) {
    let Some((&form, bytes)) = data.split_first() else { return };
    match form % 4 {
        0 => {
            if let Ok(profile) = decode(bytes, &LIMITS) {
                holds(&profile);
            }
        }
        1 => {
            if let Ok(told) = text::parse(bytes, &LIMITS) {
                holds(&told.profile);
            }
        }
        2 => {
            let mut dump = Dump::new(bytes);
            let mut census = DumpCensus::new(0, 60_000);
            while let Some(goroutine) = dump.next_goroutine().expect("memory does not fail") {
                census.add(&goroutine);
            }
            let census = census.finish();
            assert_eq!(census.total, census.sites.values().map(|counted| counted.count).sum::<u64>());
        }
        _ => {
            let _ = Index::parse(&String::from_utf8_lossy(bytes));
        }
    }
}

fn holds(profile: &Profile) {
    assert!(profile.samples.len() <= LIMITS.samples_max);
    for sample in &profile.samples {
        assert_eq!(sample.values.len(), profile.sample_types.len());
        assert!(sample.stack.iter().all(|at| (*at as usize) < profile.locations.len()));
    }
    let census = from_profile(profile, 0, 128);
    assert!(census.sites.len() <= profile.samples.len());
    for quantity in [Quantity::HeapInuseBytes, Quantity::HeapAllocsBytes, Quantity::MutexWaitNs, Quantity::BlockWaitNs]
    {
        let _ = by_function(profile, quantity);
    }
    let again = decode(&encode_plain(profile), &Limits::default()).expect("just written");
    let mut want = profile.clone();
    for (_, value) in want.samples.iter_mut().flat_map(|sample| &mut sample.labels) {
        // An empty text cannot be told from no text.
        if matches!(value, LabelValue::Text(text) if text.is_empty()) {
            *value = LabelValue::Number(0, "".into());
        }
    }
    assert_eq!(again, want);
}
