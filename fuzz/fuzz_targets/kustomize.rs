//! Feeds the entry point `kustomize` (`src/fuzzing`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded::run("kustomize", data));
