//! See `tidings_tests::props::cores`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidings_tests::props::cores(data));
