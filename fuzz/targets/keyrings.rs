//! See `tidings_tests::props::keyrings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidings_tests::props::keyrings(data));
