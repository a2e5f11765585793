//! libFuzzer entry of `fuzz::matchers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::matchers::run(data));
