//! The table: what was measured, the figure, its target, and whether it was met.
//!
//! A figure without a target is there to be known.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

/// One figure.
#[derive(Debug)]
pub struct Row {
    what: String,
    measured: String,
    target: Option<(String, bool)>,
}

impl Row {
    /// Whether it has a target that was not met.
    pub fn is_missed(&self) -> bool {
        matches!(self.target, Some((_, false)))
    }

    /// A figure without a target.
    pub fn known(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            measured: measured.into(),
            target: None,
        }
        .told()
    }

    /// A figure that should be as `target` says, and whether it is.
    pub fn held(
        what: impl Into<String>,
        measured: impl Into<String>,
        target: impl Into<String>,
        met: bool,
    ) -> Self {
        Self {
            what: what.into(),
            measured: measured.into(),
            target: Some((target.into(), met)),
        }
        .told()
    }

    /// Told at once: what takes long may be broken off before the table is there.
    fn told(self) -> Self {
        eprintln!("{self}");
        self
    }
}

/// In one line, for a figure that is told before the others are there.
impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.measured)?;
        match &self.target {
            Some((target, true)) => write!(out, " ({target}, met)"),
            Some((target, false)) => write!(out, " ({target}, MISSED)"),
            None => Ok(()),
        }
    }
}

/// All figures as a table.
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["what", "measured", "target", ""]);
    for row in rows {
        let (target, met) = match &row.target {
            Some((target, true)) => (target.as_str(), "met"),
            Some((target, false)) => (target.as_str(), "MISSED"),
            None => ("", ""),
        };
        table.add_row([row.what.as_str(), &row.measured, target, met]);
    }
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
