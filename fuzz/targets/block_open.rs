//! libFuzzer entry of `fuzz::block_open`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::block_open::run(data));
