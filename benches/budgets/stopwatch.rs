//! Time as a benchmark needs it: monotonic, of the machine.
//!
//! The one place in the benches that reads it. Nothing is decided by these times.

pub use std::time::Instant;

/// The present moment.
#[allow(clippy::disallowed_methods)] // measures; nothing is decided by this time
pub fn now() -> Instant {
    Instant::now()
}

/// The smallest value that `share` of the values do not exceed; the values must be sorted.
pub fn quantile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let position = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(position).copied().unwrap_or_default()
}
