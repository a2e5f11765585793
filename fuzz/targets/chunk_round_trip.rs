//! libFuzzer entry of `fuzz::chunk_round_trip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::chunk_round_trip::run(data));
