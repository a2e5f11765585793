//! libFuzzer entry of `fuzz::notification_template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::notification_template::run(data));
