//! See `sfumato_fuzz_targets::commands`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfumato_fuzz_targets::commands(data));
