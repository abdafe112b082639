//! Undoing commits in a repository that somebody else owns.
//!
//! A remedy is one commit on top of the branch that takes back the commits which led from the
//! last good template to the bad one, pushed without force. What cannot be undone cleanly is not
//! undone: the error says why and what a person would run.
//!
//! From the outside in: `undo` is the whole of a remedy; `history` finds the commits, `revert` makes
//! the tree, `message`, `commit` and `sign` the commit, `copy` fetches and pushes, `transport` speaks to the
//! server. A `remote` is reached with `credentials`, or as an `app`; copies lie in a `folder` of their own. `authors` says who wrote what, `error` what
//! a person has to do instead. All of this blocks: call it from a thread that may. `forge` opens pull requests.
//!
//! Not here: what a path deploys (given as a `View`), and when to undo.

mod app;
mod authors;
mod commit;
mod copy;
mod credentials;
mod error;
mod folder;
pub mod forge;
mod history;
mod message;
mod remote;
mod revert;
mod sign;
mod transport;
mod undo;

pub use app::{App, GITHUB, Tokens};
pub use authors::{Author, authors};
pub use commit::Committer;
pub use copy::{Copy, Pushed};
pub use credentials::Credentials;
pub use error::{Commit, Error};
pub use history::{Before, Change, View, before};
pub use message::Message;
pub use remote::{Address, Remote};
pub use sign::Signer;
pub use transport::Limits;
pub use undo::{Beside, Onto, Order, Outcome, Written, undo};
