//! libFuzzer entry of `fuzz::go_binary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::go_binary::run(data));
