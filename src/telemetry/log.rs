//! Log lines: text for people or JSON for machines, both to stderr.
//!
//! stdout belongs to a command's result. Fields of the enclosing spans (environment, rollout,
//! run id) are part of each line.
//!
//! Not here: which level is wanted; that is a setting.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is none.
    #[error("cannot read the log level {level:?}")]
    Level {
        /// What was given.
        level: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody logs already.
    #[error("cannot begin to log twice")]
    Begun(#[source] tracing_subscriber::util::TryInitError),
}

/// Begins to log to stderr, once a process. `level` is a level or directives such as
/// `info,sluice=debug`.
pub fn begin(format: Format, level: &str) -> Result<(), Error> {
    let colour = std::io::stderr().is_terminal();
    subscriber(format, level, colour, std::io::stderr)?
        .try_init()
        .map_err(Error::Begun)
}

fn subscriber<W>(
    format: Format,
    level: &str,
    colour: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(quiet(level))
        .map_err(|source| Error::Level {
            level: level.to_owned(),
            source,
        })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(match format {
        Format::Text => Box::new(lines.with_ansi(colour).with_target(false).finish()),
        Format::Json => Box::new(lines.json().flatten_event(true).finish()),
    })
}

/// Whether it is a level, or directives with one. A bare word would be taken for a module's name, and everything else
/// would be silent.
pub fn is_level(level: &str) -> bool {
    let named = |one: &str| one.contains(['=', '[']) || LevelFilter::from_str(one).is_ok();
    let all_named = level.split(',').map(str::trim).all(named);
    all_named && EnvFilter::builder().parse(level).is_ok()
}

/// Unless they are asked for, without the Kubernetes client's own lines: each of its errors is told by us,
/// or is none.
fn quiet(level: &str) -> String {
    if level.contains("kube_client") {
        level.to_owned()
    } else {
        format!("{level},kube_client=off")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, "info", false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("run", id = "r1");
            span.in_scope(|| tracing::info!(weight = 5, "the weight rose"));
            tracing::debug!("unheard");
            tracing::error!(target: "kube_client::client", "unheard");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_json_line_has_the_run_id_and_the_fields() {
        let line: serde_json::Value = serde_json::from_str(&logged(Format::Json)).unwrap();
        assert_eq!(line["message"], "the weight rose");
        assert_eq!(line["weight"], 5);
        assert_eq!(line["span"]["id"], "r1");
    }

    #[test]
    fn a_text_line_has_the_run_id_too() {
        let line = logged(Format::Text);
        assert!(!line.contains("unheard"), "{line}");
        assert!(line.contains("the weight rose weight=5"), "{line}");
        assert!(line.contains("id=\"r1\""), "{line}");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        let error = subscriber(Format::Text, "a=b=c", false, std::io::sink)
            .err()
            .unwrap();
        assert_eq!(error.to_string(), "cannot read the log level \"a=b=c\"");
    }
}
