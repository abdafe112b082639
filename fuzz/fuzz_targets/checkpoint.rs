//! Feeds the entry point `checkpoint` (`src/fuzzing`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded::run("checkpoint", data));
