//! See `sfumato_fuzz_targets::descriptor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfumato_fuzz_targets::descriptor(data));
