//! Feeds the entry point `alerts` (`src/fuzzing`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded::run("alerts", data));
