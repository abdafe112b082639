//! Tells people: colour, and live lines that are drawn in place on a terminal.
//!
//! Where the output is no terminal there are no live lines: each change is one line.
//! Not here: the words themselves (`told`) and the table (`table`).

use std::fmt::Write as _;
use std::io::Write;

use anstyle::{AnsiColor, Style};

use super::table::table;
use super::told::{Live, Row, Rule, Sink, Told, changed, ended, sentence};

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const CAREFUL: Style = AnsiColor::Yellow.on_default().bold();
const COMMIT: Style = AnsiColor::Cyan.on_default();
const CANARY: Style = AnsiColor::Yellow.on_default();
const STABLE: Style = AnsiColor::Blue.on_default();

/// Writes for people.
#[derive(Debug)]
pub struct Terminal<W> {
    out: W,
    colour: bool,
    live: bool,
    drawn: usize,
}

impl<W: Write + Send + Sync> Terminal<W> {
    /// `colour`: styles are written; `live`: lines are drawn in place.
    pub fn new(out: W, colour: bool, live: bool) -> Self {
        Self {
            out,
            colour,
            live,
            drawn: 0,
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// Writes lines that stay; a reader that has gone away is no reason to stop.
    fn print(&mut self, text: &str) {
        self.erase();
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            let _ = write!(self.out, "\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }

    fn draw(&mut self, live: &Live) {
        if !self.live {
            return;
        }
        let text = self.picture(live);
        self.erase();
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        self.drawn = text.lines().count();
    }

    /// The weight as a bar, and a line a rule.
    fn picture(&self, live: &Live) -> String {
        let image = live.images.first().map_or("", String::as_str);
        let mut text = format!(
            "{:7.1}s  {} {} {}  {} {:3}%  {:.0} answers a second, {:.0} bad",
            live.at,
            self.paint(BOLD, image),
            live.phase,
            live.step,
            self.weight(live.weight),
            live.weight,
            live.rate,
            live.bad_rate,
        );
        for rule in &live.rules {
            let _ = write!(text, "\n{}", self.rule(rule));
        }
        text
    }

    fn weight(&self, percent: f64) -> String {
        let cells = (percent / 100.0 * 24.0).round().clamp(0.0, 24.0) as usize;
        let cells = if percent > 0.0 { cells.max(1) } else { 0 };
        let canary = self.paint(CANARY, &"█".repeat(cells));
        let stable = self.paint(STABLE, &"█".repeat(24 - cells));
        format!("{canary}{stable}")
    }

    fn rule(&self, rule: &Rule) -> String {
        format!(
            "          {:<12} canary {}  stable {}  worse {} not worse {} {}",
            rule.name,
            share(rule.canary_bad, rule.canary_total),
            share(rule.stable_bad, rule.stable_total),
            self.gauge(rule.exact.min(rule.block), rule.bound, BAD),
            self.gauge(rule.not_worse, rule.not_worse_bound, GOOD),
            self.paint(verdict_style(&rule.verdict), &rule.verdict),
        )
    }

    /// Evidence against its bound: `[████░░░░]  2.1/5.3`.
    fn gauge(&self, value: f64, bound: f64, style: Style) -> String {
        let part = if bound > 0.0 {
            (value / bound).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let cells = (part * 8.0).floor() as usize;
        let full = self.paint(style, &"█".repeat(cells));
        let rest = self.paint(DIM, &"░".repeat(8 - cells));
        format!("[{full}{rest}] {value:5.1}/{bound:.1}")
    }

    fn run_ended(&mut self, row: &Row, at: f64) {
        let style = if row.as_wanted { GOOD } else { BAD };
        let text = format!("{at:7.1}s  {}", self.paint(style, &ended(row)));
        self.print(&text);
    }

    fn over(&mut self, told: &Told, rows: &[Row], failures: usize) {
        if !rows.is_empty() {
            let text = table(rows, self.colour);
            self.print(&format!("\n{text}"));
        }
        let style = if failures == 0 { GOOD } else { BAD };
        let text = self.paint(style, &sentence(told));
        self.print(&text);
    }
}

fn verdict_style(verdict: &str) -> Style {
    match verdict {
        "Worse" => BAD,
        "Suspect" => CAREFUL,
        "NotWorse" => GOOD,
        _ => DIM,
    }
}

/// `12/1204 1.00%`, padded so that columns stay.
fn share(bad: f64, total: f64) -> String {
    let percent = if total > 0.0 {
        100.0 * bad / total
    } else {
        0.0
    };
    format!("{:>13} {percent:5.2}%", format!("{bad:.0}/{total:.0}"))
}

impl<W: Write + Send + Sync> Sink for Terminal<W> {
    fn told(&mut self, told: &Told) {
        let line = sentence(told);
        match told {
            Told::Began { .. } => {
                let text = self.paint(BOLD, &line);
                self.print(&text);
            }
            Told::Said { text, at } => {
                let text = format!("\n{at:7.1}s  {}", self.paint(BOLD, text));
                self.print(&text);
            }
            Told::Step { .. } => self.print(&line),
            Told::Git { .. } => {
                let text = self.paint(COMMIT, &line);
                self.print(&text);
            }
            Told::Met { .. } => {
                let text = self.paint(GOOD, &line);
                self.print(&text);
            }
            Told::Failed { .. } => {
                let text = self.paint(BAD, &line);
                self.print(&text);
            }
            Told::Changed(live) => {
                let text = self.paint(verdict_style(&live.verdict), &changed(live));
                self.print(&text);
            }
            Told::Live(live) => self.draw(live),
            Told::RunEnded { at, row } => self.run_ended(row, *at),
            Told::Ended { rows, failures, .. } => self.over(told, rows, *failures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Told {
        Told::Live(Live {
            phase: "Stepping".into(),
            weight: 5.0,
            images: vec!["shop:v2".into()],
            rules: vec![Rule {
                name: "error-rate".into(),
                bound: 5.0,
                exact: 2.5,
                block: 4.0,
                ..Rule::default()
            }],
            ..Live::default()
        })
    }

    #[test]
    fn live_lines_are_drawn_in_place_and_only_on_a_terminal() {
        let mut terminal = Terminal::new(Vec::new(), false, true);
        terminal.told(&live());
        terminal.told(&live());
        let text = String::from_utf8(terminal.out).unwrap();
        assert!(text.contains("shop:v2 Stepping"), "{text}");
        assert!(text.contains("[████░░░░]   2.5/5.0"), "{text}");
        assert!(text.contains("\x1b[2A\x1b[J"), "{text}");
        let mut pipe = Terminal::new(Vec::new(), false, false);
        pipe.told(&live());
        assert!(pipe.out.is_empty());
    }
}
