//! libFuzzer entry of `fuzz::engine_model`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::engine_model::run(data));
