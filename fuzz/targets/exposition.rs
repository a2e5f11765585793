//! libFuzzer entry of `fuzz::exposition`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::exposition::run(data));
