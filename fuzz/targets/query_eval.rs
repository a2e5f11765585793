//! libFuzzer entry of `fuzz::query_eval`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::query_eval::run(data));
