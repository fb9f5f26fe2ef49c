//! The libFuzzer program for [`tickwire_fuzz::payloads`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickwire_fuzz::payloads(input));
