//! Words and classes for people: ages, times, shares, and the class of what is urgent.
//!
//! Not here: sentences; those come with the state. How urgent a phase is, `rollout::tone` says.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::clock::elapsed;
use crate::rollout::tone::Tone;

/// The class of what is so urgent.
pub fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "bad",
        Tone::Attention => "attention",
        Tone::Moving => "moving",
        Tone::Calm => "calm",
    }
}

/// The class of a phase, an outcome or a verdict.
pub fn class_of(word: &str) -> &'static str {
    class(Tone::of(word))
}

/// A name of the code's as people read it: `RolledBack` is `Rolled back`.
pub fn spaced(word: &str) -> String {
    let mut text = String::with_capacity(word.len() + 2);
    for (index, letter) in word.chars().enumerate() {
        if index > 0 && letter.is_uppercase() {
            text.push(' ');
            text.extend(letter.to_lowercase());
        } else {
            text.push(letter);
        }
    }
    text
}

/// A sentence in which `` `commands` `` are set as such.
pub fn sentence(text: &str) -> Markup {
    let mut parts = text.split('`');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    // A backtick without another one is itself.
    let (pairs, odd) = rest.split_at(rest.len() / 2 * 2);
    html! {
        (first)
        @for pair in pairs.chunks(2) { code { (pair[0]) } (pair[1]) }
        @for text in odd { "`" (text) }
    }
}

/// The time between two moments: `42s`, `5m`, `3h`, `12d`.
pub fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = elapsed(from, to).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A moment to the second, in UTC.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The time of the day to the second, in UTC.
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// A count with its thousands apart.
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

/// A share in percent with as many digits as it needs.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        p if p >= 10.0 => format!("{p:.0}%"),
        p if p >= 1.0 => format!("{p:.1}%"),
        p if p > 0.0 => format!("{p:.2}%"),
        _ => "0%".to_owned(),
    }
}

/// A share of counts, or a dash where nothing was counted.
pub fn share(bad: f64, total: f64) -> String {
    if total > 0.0 {
        percent(bad / total)
    } else {
        "–".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_a_sentence_are_set_as_such_and_nothing_becomes_markup() {
        let table = [
            ("it waits", "it waits"),
            (
                "`a <b>` lets it go on, `c` ends it",
                "<code>a &lt;b&gt;</code> lets it go on, <code>c</code> ends it",
            ),
            ("an odd ` one", "an odd ` one"),
            ("`a` and ` one", "<code>a</code> and ` one"),
        ];
        for (text, wanted) in table {
            assert_eq!(sentence(text).into_string(), wanted);
        }
    }

    #[test]
    fn names_are_read_as_words() {
        assert_eq!(spaced("RolledBack"), "Rolled back");
        assert_eq!(spaced("Idle"), "Idle");
        assert_eq!(count(11_590.0), "11,590");
        let shares = [0.5, 0.025, 0.0049, 0.0].map(percent);
        assert_eq!(shares, ["50%", "2.5%", "0.49%", "0%"]);
    }
}
