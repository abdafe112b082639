//! Feeds the entry point `matcher` (`src/fuzzing`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded::run("matcher", data));
