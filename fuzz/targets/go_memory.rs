//! libFuzzer entry of `fuzz::go_memory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::go_memory::run(data));
