//! The settings by which several daemons agree on one that acts.
//!
//! Names and meanings are those of client-go, so that what is known of it holds here. Its
//! `leaseDuration` of 15 s is shortened by two, so that another leads 15 s after a crash at the
//! latest.

use std::time::Duration;

use super::reader::{Reader, Section};

/// The election of the daemon that acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// Whether there is one. Default false: this daemon is the only one.
    pub enabled: bool,
    /// The Lease's name. Default `sluice`.
    pub name: String,
    /// The Lease's namespace. Default: the daemon's own, or the context's.
    pub namespace: Option<String>,
    /// This daemon's name in it. Default: the host's name and a random part.
    pub identity: Option<String>,
    /// How long others wait for a leader that is silent; whole seconds. Default `13s`.
    pub lease: Duration,
    /// How long a leader acts without a renewal. Default `10s`.
    pub renew: Duration,
    /// Time between two tries. Default `2s`.
    pub retry: Duration,
}

impl Default for Election {
    fn default() -> Self {
        Self {
            enabled: false,
            name: "sluice".to_owned(),
            namespace: None,
            identity: None,
            lease: Duration::from_secs(13),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Reads `leaderElection`.
pub fn election(reader: &mut Reader, root: &Section) -> Election {
    let section = reader.section(root, "leaderElection");
    let usual = Election::default();
    let election = Election {
        enabled: reader.flag(&section, "enabled", usual.enabled),
        name: reader.text(&section, "name").unwrap_or(usual.name),
        namespace: reader.text(&section, "namespace"),
        identity: reader.text(&section, "identity"),
        lease: reader.duration(&section, "leaseDuration", usual.lease),
        renew: reader.duration(&section, "renewDeadline", usual.renew),
        retry: reader.duration(&section, "retryPeriod", usual.retry),
    };
    let found = |duration| humantime::format_duration(duration).to_string();
    if election.lease.subsec_nanos() != 0 {
        let wanted = "whole seconds";
        reader.wrong(&section, "leaseDuration", &found(election.lease), wanted);
    }
    // The ratio is what clocks may differ by.
    if election.renew.mul_f64(1.2) > election.lease {
        let wanted = "at most leaseDuration / 1.2";
        reader.wrong(&section, "renewDeadline", &found(election.renew), wanted);
    }
    if election.retry * 2 > election.renew {
        let wanted = "at most half of renewDeadline";
        reader.wrong(&section, "retryPeriod", &found(election.retry), wanted);
    }
    election
}
