//! See `tidings_tests::props::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidings_tests::props::frames(data));
