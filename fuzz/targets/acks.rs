//! See `tidings_tests::props::acks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidings_tests::props::acks(data));
