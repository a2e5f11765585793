//! libFuzzer entry of `fuzz::chunk_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::chunk_decode::run(data));
