//! See `tidings_tests::props::insider`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidings_tests::props::insider(data));
