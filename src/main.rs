//! The binary: an allocator that gives memory back, and the command line.
//!
//! Not here: anything else; it is all in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sluice::cli::main()
}
