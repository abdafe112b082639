//! Tells everything as JSON, one object a line, for programs that read along.

use std::io::Write;

use super::told::{Sink, Told};

/// Writes each thing as one line of JSON.
#[derive(Debug)]
pub struct JsonLines<W>(pub W);

impl<W: Write + Send + Sync> Sink for JsonLines<W> {
    /// A reader that has gone away is no reason to stop the scenario.
    fn told(&mut self, told: &Told) {
        if let Ok(text) = serde_json::to_string(told) {
            let _ = writeln!(self.0, "{text}").and_then(|()| self.0.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_one_line_of_json() {
        let mut lines = JsonLines(Vec::new());
        lines.told(&Told::Said {
            at: 1.5,
            text: "two\nlines".to_owned(),
        });
        let text = String::from_utf8(lines.0).unwrap();
        assert_eq!(
            text,
            "{\"told\":\"said\",\"at\":1.5,\"text\":\"two\\nlines\"}\n"
        );
    }
}
