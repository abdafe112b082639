//! What people see: HTML from what the daemon knows, without scripts in it.
//!
//! Everything is escaped by `maud`; styles are classes, so that the page's content policy needs no
//! exception. Pictures are inline SVG with a title, and what they show is also said in numbers.
//!
//! Not here: who asks and how often (`routes`).

pub mod acts;
mod around;
pub mod chart;
pub mod frame;
pub mod hub;
pub mod overview;
pub mod past;
pub mod rollout;
pub mod run;
pub mod versions;
pub mod words;

#[cfg(test)]
mod tests;
