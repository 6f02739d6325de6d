//! See `sfumato_fuzz_targets::rtp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfumato_fuzz_targets::rtp(data));
