//! Words for people: ages, counts, shares, bars, and a colour for each phase and verdict.
//!
//! Not here: whole tables and reports.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::{Color, Table, presets};

use crate::rollout::evidence::Verdict;
use crate::rollout::reason::Outcome;
use crate::rollout::tone::Tone;

/// Columns of a bar.
const BAR: f64 = 20.0;

/// An age as kubectl writes it: `42s`, `5m10s`, `3h`, `12d`.
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if !seconds.is_multiple_of(60) => format!("{minutes}m{}s", seconds % 60),
        120..7200 => format!("{minutes}m"),
        7200..172_800 => format!("{hours}h"),
        _ => format!("{}d", hours / 24),
    }
}

/// A count with its thousands apart: `11,590`.
pub fn count(count: f64) -> String {
    let digits = format!("{:.0}", count.max(0.0));
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in percent, or a dash where nothing was counted.
pub fn share(part: f64, whole: f64) -> String {
    if whole > 0.0 {
        format!("{:.2}%", 100.0 * part / whole)
    } else {
        "-".to_owned()
    }
}

/// How far a value has come towards a bound, as a bar.
pub fn bar(value: f64, bound: f64) -> String {
    let reached = if bound > 0.0 { value / bound } else { 0.0 };
    // A bar is full only at the bound; the tiny term is for 0.4 * 20 < 8.
    let full = (reached.clamp(0.0, 1.0) * BAR + 1e-9).floor() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR as usize - full))
}

/// Text in a style.
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// For headings and names.
pub const STRONG: Style = Style::new().bold();
/// For what matters less.
pub const FAINT: Style = Style::new().dimmed();

/// The colour of a phase, an outcome or a verdict; none for what is ordinary.
pub fn color(word: &str) -> Option<AnsiColor> {
    let success = [Outcome::Promoted.name(), Verdict::NotWorse.name()];
    match Tone::of(word) {
        Tone::Bad => Some(AnsiColor::Red),
        Tone::Attention => Some(AnsiColor::Yellow),
        Tone::Moving => Some(AnsiColor::Cyan),
        Tone::Calm => success.contains(&word).then_some(AnsiColor::Green),
    }
}

/// A phase or a verdict in its colour.
pub fn coloured(word: &str) -> String {
    match color(word) {
        Some(color) => styled(color.on_default().bold(), word),
        None => word.to_owned(),
    }
}

/// A cell with a phase or a verdict in its colour.
pub fn cell(word: &str) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new(word);
    match color(word) {
        Some(AnsiColor::Red) => cell.fg(Color::Red),
        Some(AnsiColor::Yellow) => cell.fg(Color::Yellow),
        Some(AnsiColor::Cyan) => cell.fg(Color::Cyan),
        Some(_) => cell.fg(Color::Green),
        None => cell,
    }
}

/// A table without lines, as kubectl's. It wraps where a width is given.
pub fn table(header: &[&str], width: Option<u16>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .force_no_tty()
        .enforce_styling();
    if let Some(width) = width {
        table
            .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
            .set_width(width);
    }
    table.set_header(header.to_vec());
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

/// A table's text, without spaces at the ends of lines.
pub fn lines(table: &Table) -> String {
    let lines = table.lines().map(|line| format!("{}\n", ended(&line)));
    lines.collect()
}

/// A line without spaces at its end, also before the code that ends the colour of its last cell.
fn ended(line: &str) -> String {
    let line = line.trim_end();
    match line.rfind('\u{1b}') {
        Some(at) if line[at..].find('m') == Some(line.len() - at - 1) => {
            format!("{}{}", line[..at].trim_end(), &line[at..])
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_without_spaces_in_colour_too() {
        let cases = [
            ("a  ", "a"),
            ("a \u{1b}[32mb  \u{1b}[39m  ", "a \u{1b}[32mb\u{1b}[39m"),
            ("\u{1b}[32ma\u{1b}[39m b ", "\u{1b}[32ma\u{1b}[39m b"),
        ];
        for (line, wanted) in cases {
            assert_eq!(ended(line), wanted);
        }
    }

    #[test]
    fn ages_are_short() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (610, "10m"),
            (7200, "2h"),
            (200_000, "2d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        let cases = [
            (0.0, "0"),
            (999.0, "999"),
            (11_590.0, "11,590"),
            (1e6, "1,000,000"),
        ];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn a_bar_stays_within_its_ends() {
        for (value, full) in [
            (-3.0, 0),
            (0.0, 0),
            (2.65, 10),
            (5.3, 20),
            (f64::INFINITY, 20),
        ] {
            assert_eq!(
                bar(value, 5.3).chars().filter(|c| *c == '█').count(),
                full,
                "{value}"
            );
        }
        assert_eq!(bar(f64::NAN, 5.3).chars().count(), 20);
    }

    #[test]
    fn nothing_counted_is_no_share() {
        assert_eq!(share(0.0, 0.0), "-");
        assert_eq!(share(3.0, 612.0), "0.49%");
    }
}
