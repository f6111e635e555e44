//! See `tidings_tests::props::windows`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidings_tests::props::windows(data));
