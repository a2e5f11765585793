//! libFuzzer entry of `fuzz::backup_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::backup_files::run(data));
