//! Feeds the entry point `smoke` (`src/fuzzing`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded::run("smoke", data));
