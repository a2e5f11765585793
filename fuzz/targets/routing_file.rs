//! libFuzzer entry of `fuzz::routing_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::routing_file::run(data));
