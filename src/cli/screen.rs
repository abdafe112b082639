//! Where a command's result goes: stdout, as text, JSON or YAML, coloured where wanted.
//!
//! Styles are written always and taken out by `anstream` where stdout is no terminal, where
//! `NO_COLOR` is set or `--color never` is given.
//!
//! Not here: errors; they go to stderr.

use std::io::{IsTerminal, Write};

use anstream::AutoStream;
use serde::Serialize;

use super::{Error, Format};

/// stdout.
#[derive(Debug)]
pub struct Screen {
    format: Format,
    drawn: usize,
}

impl Screen {
    /// stdout in this format.
    pub fn new(format: Format) -> Self {
        Self { format, drawn: 0 }
    }

    /// The format that was asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether a person looks at it: text on a terminal.
    pub fn is_live(&self) -> bool {
        self.format == Format::Text && std::io::stdout().is_terminal()
    }

    /// The terminal's width in columns, if it is one.
    pub fn width(&self) -> Option<u16> {
        comfy_table::Table::new().width()
    }

    /// Writes text as it is.
    pub fn print(&mut self, text: &str) -> Result<(), Error> {
        let mut stdout = AutoStream::auto(std::io::stdout().lock());
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(Error::Output)
    }

    /// Writes text in place of what was redrawn last, as much of it as the terminal has lines for.
    pub fn redraw(&mut self, text: &str) -> Result<(), Error> {
        let height = terminal_size::terminal_size().map(|(_, height)| usize::from(height.0));
        let text = &clipped(text, height.unwrap_or(usize::MAX));
        let up = match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        self.drawn = text.lines().count();
        self.print(&format!("{up}{text}"))
    }

    /// Writes a value as JSON or YAML; as text, what `text` makes of it.
    pub fn value<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        let text = match self.format {
            Format::Text => text(value),
            Format::Json => {
                let json = serde_json::to_string_pretty(value);
                format!("{}\n", json.map_err(|e| Error::Format(e.to_string()))?)
            }
            Format::Yaml => yaml(value)?,
        };
        self.print(&text)
    }

    /// Writes one of many values as they come: a YAML document where that is asked for, else a line of JSON.
    pub fn next_value<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        if self.format == Format::Yaml {
            return self.print(&format!("---\n{}", yaml(value)?));
        }
        let line = serde_json::to_string(value).map_err(|e| Error::Format(e.to_string()))?;
        self.print(&format!("{line}\n"))
    }
}

/// The first lines, where there are more than fit above the cursor's.
fn clipped(text: &str, height: usize) -> String {
    let (count, room) = (text.lines().count(), height.saturating_sub(1).max(1));
    if count <= room {
        return text.to_owned();
    }
    let first: String = text.split_inclusive('\n').take(room - 1).collect();
    let more = count - (room - 1);
    format!("{first}... {more} more lines: see `sluice get`\n")
}

/// A value as a YAML document that ends with a line end.
pub fn yaml<T: Serialize>(value: &T) -> Result<String, Error> {
    let text = serde_saphyr::to_string(value).map_err(|e| Error::Format(e.to_string()))?;
    Ok(format!("{}\n", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_redrawn_fits_on_the_screen() {
        let cases = [
            ("a\nb\nc\n", 4, "a\nb\nc\n"),
            ("a\nb\nc\n", 3, "a\n... 2 more lines: see `sluice get`\n"),
            ("a\nb\n", 1, "... 2 more lines: see `sluice get`\n"),
        ];
        for (text, height, wanted) in cases {
            assert_eq!(clipped(text, height), wanted, "{height}");
        }
    }
}
