//! See `tidings_tests::props::handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidings_tests::props::handshake(data));
