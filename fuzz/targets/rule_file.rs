//! libFuzzer entry of `fuzz::rule_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::rule_file::run(data));
