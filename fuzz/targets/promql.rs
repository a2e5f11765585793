//! libFuzzer entry of `fuzz::promql`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::promql::run(data));
