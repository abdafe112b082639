//! Line charts as inline SVG: a few lines over time, drawn on the server.
//!
//! Colours, widths and dashes are classes of the style sheet, so a chart is right in both themes.
//! Lines are told apart by their dashes too. Not here: what is drawn (`run`).

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{Markup, html};

use super::words::clock;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 160.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 28.0;

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its class: `canary`, `stable`, `worse`, `notworse`, `bound`, `weight`.
    pub class: &'static str,
    /// Its name in the legend.
    pub label: String,
    /// Milliseconds since 1970 and values, in order.
    pub points: Vec<(i64, f64)>,
    /// Whether it jumps from point to point.
    pub steps: bool,
}

/// A chart of some lines.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows, for a heading.
    pub title: String,
    /// What is to be seen, in a sentence, for those who do not see it.
    pub told: String,
    /// First and last moment, in milliseconds since 1970.
    pub from: i64,
    /// The last moment.
    pub to: i64,
    /// The greatest value that is shown.
    pub top: f64,
    /// Up to which value the axis has marks.
    pub marks: f64,
    /// How values are written at the axis.
    pub unit: fn(f64) -> String,
    /// The lines, drawn in this order.
    pub lines: Vec<Line>,
}

impl Chart {
    /// The picture with its legend.
    pub fn html(&self) -> Markup {
        html! {
            figure.chart {
                figcaption {
                    strong { (self.title) }
                    @for line in &self.lines {
                        span.key {
                            svg viewBox="0 0 22 6" width="22" height="6" aria-hidden="true" {
                                path class={ "line " (line.class) } d="M0 3H22" {}
                            }
                            (line.label)
                        }
                    }
                }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ (self.title) ": " (self.told) } {
                    (self.grid())
                    @for line in &self.lines {
                        path class={ "line " (line.class) } d=(self.path(line)) {}
                    }
                }
            }
        }
    }

    fn grid(&self) -> Markup {
        let values = [0.0, self.marks / 2.0, self.marks];
        let moments = [(0.0, "start"), (0.5, "middle"), (1.0, "end")];
        html! {
            @for value in values {
                path.grid d={ "M" (LEFT) " " (round(self.y(value))) "H" (WIDTH - RIGHT) } {}
                text.axis x=(LEFT - 6.0) y=(round(self.y(value) + 4.0)) text-anchor="end" { ((self.unit)(value)) }
            }
            @for (part, anchor) in moments {
                text.axis x=(round(LEFT + part * (WIDTH - LEFT - RIGHT))) y=(HEIGHT - 5.0) text-anchor=(anchor) { (self.time(part)) }
            }
        }
    }

    fn time(&self, part: f64) -> String {
        let span = (self.to - self.from) as f64;
        let at = self.from.saturating_add((span * part) as i64);
        Timestamp::from_millisecond(at).map_or_else(|_| String::new(), clock)
    }

    fn x(&self, at: i64) -> f64 {
        let span = (self.to - self.from).max(1) as f64;
        let part = ((at - self.from) as f64 / span).clamp(0.0, 1.0);
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let part = (value / self.top.max(1e-9)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)
    }

    fn path(&self, line: &Line) -> String {
        let mut path = String::new();
        for (index, (at, value)) in line.points.iter().enumerate() {
            let (x, y) = (round(self.x(*at)), round(self.y(*value)));
            // Writing to a String cannot fail.
            let _ = match (index, line.steps) {
                (0, _) => write!(path, "M{x} {y}"),
                (_, true) => write!(path, "H{x}V{y}"),
                (_, false) => write!(path, "L{x} {y}"),
            };
        }
        path
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The least round number that is not below `value`: 1, 2 or 5 times a power of ten.
pub fn ceiling(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let enough = steps.into_iter().find(|step| *step >= value * 0.999_999);
    enough.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let found = [0.0, 0.003, 0.02, 0.7, 12.0, f64::NAN].map(|value| ceiling(value).to_string());
        assert_eq!(found, ["1", "0.005", "0.02", "1", "20", "1"]);
    }

    #[test]
    fn a_line_is_drawn_from_corner_to_corner() {
        let chart = Chart {
            title: "Weight".to_owned(),
            told: "<b>".to_owned(),
            from: 0,
            to: 1000,
            top: 100.0,
            marks: 100.0,
            unit: |value| format!("{value}%"),
            lines: vec![Line {
                class: "weight",
                label: "weight".to_owned(),
                points: vec![(0, 0.0), (1000, 100.0)],
                steps: false,
            }],
        };
        let html = chart.html().into_string();
        assert!(html.contains("d=\"M56 132L632 14\""), "{html}");
        assert!(html.contains("Weight: &lt;b&gt;"), "{html}");
    }
}
