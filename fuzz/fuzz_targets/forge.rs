//! Feeds the entry point `forge` (`src/fuzzing`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded::run("forge", data));
