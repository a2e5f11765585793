//! libFuzzer entry of `fuzz::pprof_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::pprof_decode::run(data));
