//! libFuzzer entry of `fuzz::log_replay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::log_replay::run(data));
