//! Environments: which version is where, and the way from one to the next.
//!
//! A version is what a folder of manifests in Git pins for a service's image, or where a tag in the
//! registry leads to. It moves by a commit that changes this one value, onto the next environment's branch
//! or as a pull request, or by that tag; and only through the gates that the pipeline asks for.
//!
//! From the outside in: `promote` is the whole of it, and `survey` says where everything is;
//! `pipeline` and `reader` are the file that says what is wanted, `access` who we are there, `gates` what stands in the way,
//! `branch` and `change` what is written to Git, `past` what the branch's history says, `shelf` and `record` the
//! tags and what they were, `places` and `scalar` the
//! value in its text, `version` the value, `message`, `diff` and `error` the words. `validate` stands alone:
//! what is wrong with a folder before it is deployed.
//!
//! Not here: what a release does once it is deployed (`crate::rollout`), and asking clusters.

mod access;
mod branch;
mod change;
mod diff;
mod error;
pub mod gates;
mod message;
mod past;
pub mod pipeline;
pub mod places;
mod promote;
mod reader;
mod record;
mod shelf;
pub mod survey;
pub mod validate;
mod version;

pub use crate::yaml::scalar::Fault;
pub use error::Error;
pub use gates::{Smoked, Standing};
pub use pipeline::Pipeline;
pub use places::{Pinned, Service};
pub use promote::{Desk, Outcome, Report};
pub use survey::{Place, Standings};
pub use version::Version;
