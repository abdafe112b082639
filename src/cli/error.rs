//! What a command can end with, its exit code, and what to do next.
//!
//! Not here: usage that clap refuses; that is code 2 as well.

use std::io;
use std::time::Duration;

use crate::causes;
use crate::daemon::{self, settings};
use crate::kubernetes::ask;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The answer was no, or it ended as it should not.
    #[error("{0}")]
    Refused(String),
    /// Problems were found, and are printed already.
    #[error("{0} found")]
    Problems(String),
    /// A file or argument cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(#[from] settings::Error),
    /// Logging cannot begin.
    #[error("{0}")]
    Log(#[from] crate::telemetry::log::Error),
    /// No daemon answered in time.
    #[error("no daemon answered within {}", humantime::format_duration(*.0))]
    NoAnswer(Duration),
    /// What was waited for did not come in time.
    #[error("{what} did not come within {}", humantime::format_duration(*.within))]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
    },
    /// The kubeconfig cannot be used, or there is none.
    #[error("cannot find out which cluster is meant: {0}")]
    Kubeconfig(String),
    /// The API server does not answer.
    #[error("cannot {doing}: {why}")]
    Unreachable {
        /// What was being done.
        doing: String,
        /// Every cause.
        why: String,
    },
    /// The API server said no.
    #[error("cannot {doing}: {message}")]
    Api {
        /// What was being done.
        doing: String,
        /// The server's words.
        message: String,
        /// The HTTP status.
        code: u16,
    },
    /// The daemon is not where it was asked for.
    #[error("no daemon answers at {at}: {why}")]
    NoDaemon {
        /// Namespace and name of its Service, or a URL.
        at: String,
        /// The API server's words, or every cause.
        why: String,
    },
    /// A value cannot be written as JSON or YAML.
    #[error("cannot write the result: {0}")]
    Format(String),
    /// stdout cannot be written to.
    #[error("cannot write to stdout")]
    Output(#[source] io::Error),
    /// No runtime.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// The daemon cannot start, or ended by itself.
    #[error("the daemon ended")]
    Daemon(#[from] daemon::Error),
    /// The sandbox cannot start, or ended by itself.
    #[error("{0}")]
    Ended(String),
}

impl Error {
    /// Something that could not be asked of a Rollout's daemon.
    pub fn asking(doing: impl Into<String>, error: &ask::Error) -> Self {
        match error {
            ask::Error::NotOneWord { .. } => Self::Usage(error.to_string()),
            ask::Error::Api(error) => Self::api(doing, error),
        }
    }

    /// A failed request to the API server.
    pub fn api(doing: impl Into<String>, error: &kube::Error) -> Self {
        let doing = doing.into();
        match error {
            kube::Error::Api(status) => Self::Api {
                doing,
                message: status.message.clone(),
                code: status.code,
            },
            other => Self::Unreachable {
                doing,
                why: causes::told(other),
            },
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Refused(_)
            | Self::Problems(_)
            | Self::Api { .. }
            | Self::Format(_)
            | Self::Output(_)
            | Self::Runtime(_)
            | Self::Ended(_) => 1,
            Self::Daemon(error) => match error {
                daemon::Error::TaskEnded | daemon::Error::Runtime(_) => 1,
                daemon::Error::Kubeconfig(_)
                | daemon::Error::Infer(_)
                | daemon::Error::Client(_)
                | daemon::Error::Source(_)
                | daemon::Error::Listen { .. }
                | daemon::Error::Rules(_)
                | daemon::Error::Several(_)
                | daemon::Error::Smoke(_)
                | daemon::Error::Folders(_)
                | daemon::Error::SigningKey { .. }
                | daemon::Error::Signer(_)
                | daemon::Error::Login(_)
                | daemon::Error::Traces(_)
                | daemon::Error::Notify(_) => 2,
            },
            Self::Usage(_) | Self::Settings(_) | Self::Log(_) | Self::Kubeconfig(_) => 2,
            Self::NoAnswer(_) | Self::Late { .. } => 3,
            Self::Unreachable { .. } | Self::NoDaemon { .. } => 4,
        }
    }

    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoAnswer(_) => Some(
                "is `sluice run` up and does it watch this namespace? The request was withdrawn; \
                 see its log, or leave requests standing with --no-wait",
            ),
            Self::NoDaemon { .. } => Some(
                "name the daemon by --server or SLUICE_SERVER: its Service as NAMESPACE/NAME, or a URL such as \
                 http://127.0.0.1:8095. After a timeout a NetworkPolicy may shut the API server out: with \
                 `kubectl port-forward -n sluice-system service/sluice 8095` that URL is the daemon's",
            ),
            Self::Late { .. } => Some("see `sluice explain`, or wait longer with --timeout"),
            Self::Kubeconfig(_)
            | Self::Daemon(daemon::Error::Kubeconfig(_) | daemon::Error::Infer(_)) => {
                Some("give --kubeconfig and --context, or set KUBECONFIG")
            }
            Self::Unreachable { .. } => Some("is the API server up? Try `kubectl version`"),
            Self::Api { code: 401, .. } => Some("log in to the cluster again"),
            Self::Api { code: 403, .. } => Some("ask for the right to do this; RBAC decides"),
            Self::Api { code: 404, .. } => Some(
                "see `sluice get -A`; where no Rollout resource is installed: \
                 `sluice crd | kubectl apply -f -`",
            ),
            _ => None,
        }
    }

    /// Prints it to stderr, each cause once, and what to do next.
    pub fn print(&self) {
        if matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return;
        }
        let text = causes::told(self);
        let red = anstyle::AnsiColor::Red.on_default().bold();
        anstream::eprintln!("{red}error{red:#}: {text}");
        if let Some(hint) = self.hint() {
            anstream::eprintln!("  next: {hint}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_codes_are_the_documented_ones() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        let cases = [
            (Error::Output(closed), 0),
            (Error::Refused("no".to_owned()), 1),
            (Error::Usage("what".to_owned()), 2),
            (Error::NoAnswer(Duration::from_secs(15)), 3),
            (
                Error::Unreachable {
                    doing: "list Rollouts".to_owned(),
                    why: "connection refused".to_owned(),
                },
                4,
            ),
        ];
        for (error, code) in cases {
            assert_eq!(error.exit_code(), code, "{error}");
        }
    }
}
