//! `--from ENV --to ENV [--version VERSION]`, of commands that act on a Rollout or between environments.
//!
//! Not here: what is done with them (`way`, `consent`).

use clap::Args;

use crate::environments::Version;

/// From which environment to which, and what.
#[derive(Debug, Args)]
pub struct Between {
    /// Between environments: where the version is
    #[arg(long, value_name = "ENVIRONMENT", requires = "to", conflicts_with_all = ["revision", "no_wait"])]
    from: Option<String>,
    /// Between environments: where it goes
    #[arg(long, value_name = "ENVIRONMENT", requires = "from")]
    to: Option<String>,
    /// Between environments: which version [default: the one that `--from` has]
    #[arg(long, value_name = "VERSION", requires = "from")]
    version: Option<Version>,
}

impl Between {
    /// The environment before and the one after; `None` where a Rollout is meant.
    pub fn ends(&self) -> Option<(&str, &str)> {
        self.from.as_deref().zip(self.to.as_deref())
    }

    /// The version that was named.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }
}
