//! Feeds the entry point `judge` (`src/fuzzing`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded::run("judge", data));
