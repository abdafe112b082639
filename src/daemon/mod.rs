//! The daemon: everything wired together.

pub mod settings;
