//! The table at the end: one line a named run. Pure.
//!
//! Times are seconds on the cluster's clock. Where no answer was bad (a slow release), the
//! way to weight 0 is counted from the new revision's first answer and marked so.

use comfy_table::{Cell, CellAlignment, Color, Table, presets};

use super::told::Row;

/// The table as text; `colour` marks outcomes green and red.
pub fn table(rows: &[Row], colour: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header([
        "run",
        "outcome",
        "reason",
        "change to outcome",
        "first bad answer to weight 0",
        "bad answers users got",
        "as it should",
    ]);
    for row in rows {
        table.add_row(cells(row));
    }
    let marked = rows
        .iter()
        .any(|row| row.from_first_request && row.zero_after.is_some());
    let note = if marked {
        "\n* from the new revision's first answer, since none was bad"
    } else {
        ""
    };
    format!("{table}{note}")
}

fn cells(row: &Row) -> Vec<Cell> {
    let colour = if row.as_wanted {
        Color::Green
    } else {
        Color::Red
    };
    let verdict = if row.as_wanted { "yes" } else { "NO" };
    vec![
        Cell::new(&row.run),
        Cell::new(&row.outcome),
        Cell::new(&row.reason),
        right(seconds(row.outcome_after)),
        right(zero(row)),
        right(bad(row)),
        Cell::new(verdict).fg(colour),
    ]
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} s"))
}

fn zero(row: &Row) -> String {
    let star = if row.from_first_request && row.zero_after.is_some() {
        " *"
    } else {
        ""
    };
    format!("{}{star}", seconds(row.zero_after))
}

fn bad(row: &Row) -> String {
    match row.saved {
        Some(saved) => format!("{} (some {saved} saved)", row.bad),
        None => row.bad.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_number() {
        let row = Row {
            run: "v6".into(),
            outcome: "RolledBack".into(),
            reason: "Worse".into(),
            outcome_after: Some(41.26),
            zero_after: Some(9.5),
            bad: 120,
            saved: Some(900),
            as_wanted: true,
            ..Row::default()
        };
        let text = table(&[row], false);
        for part in [
            "v6",
            "RolledBack",
            "Worse",
            "41.3 s",
            "9.5 s",
            "120 (some 900 saved)",
            "yes",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
