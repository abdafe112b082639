//! An error with everything that led to it, in one line.
//!
//! `Display` of an error says what was being done and leaves its sources to whoever prints it.
//! Libraries differ: some repeat their source, so a text that has been said is not said again.
//!
//! Not here: what to do about an error.

use std::error::Error;

/// The error and its sources, outermost first, each once.
pub fn told(error: &dyn Error) -> String {
    let mut told = said(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let said = said(cause);
        if !told.contains(&said) {
            told = format!("{told}: {said}");
        }
        source = cause.source();
    }
    told
}

/// Its own words, without the name that the client library gives to errors of the transport.
fn said(error: &dyn Error) -> String {
    let said = error.to_string();
    said.strip_prefix("ServiceError: ")
        .map_or(said.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Fault {
        #[error("writing the weight")]
        Write(#[source] Box<Fault>),
        #[error("no answer: {0}")]
        Repeats(#[source] Box<Fault>),
        #[error("connection refused")]
        Refused,
    }

    #[test]
    fn every_cause_is_told_once() {
        let refused = Box::new(Fault::Refused);
        let error = Fault::Write(Box::new(Fault::Repeats(refused)));
        let wanted = "writing the weight: no answer: connection refused";
        assert_eq!(told(&error), wanted);
    }
}
