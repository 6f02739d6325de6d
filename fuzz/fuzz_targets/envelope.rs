//! See `sfumato_fuzz_targets::envelope`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfumato_fuzz_targets::envelope(data));
