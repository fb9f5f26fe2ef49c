//! The libFuzzer program for [`tickwire_fuzz::journal`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickwire_fuzz::journal(input));
