//! libFuzzer entry of `fuzz::queue_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::queue_record::run(data));
