//! Words that people and programs send along: who asks, why, what for. They end in the status, in log lines,
//! Events, chats and commit messages, so they are of one line there and not long, whoever wrote them.
//!
//! Not here: whether they mean anything (`request`, `approval`).

/// The most of it, in characters.
pub const MOST: usize = 400;

/// A sentence: what would break or turn the line is a space.
pub fn line(text: &str) -> String {
    kept(text, ' ')
}

/// A name: what does not belong into one is marked, so that no name becomes another one.
pub fn name(text: &str) -> String {
    kept(text, char::REPLACEMENT_CHARACTER)
}

/// What is cut ends with a mark that no name, hash or image has.
fn kept(text: &str, instead: char) -> String {
    let plain = |c: char| if breaks(c) { instead } else { c };
    let mut kept: String = text.chars().take(MOST).map(plain).collect();
    if text.chars().nth(MOST).is_some() {
        kept.pop();
        kept.push('…');
    }
    kept
}

/// Control characters, other ends of lines, and what turns the direction of the text.
fn breaks(c: char) -> bool {
    let turns = ['\u{200e}', '\u{200f}'].contains(&c)
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c);
    c.is_control() || turns || ['\u{2028}', '\u{2029}'].contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_of_one_line() {
        for (text, as_line, as_name) in [
            ("Ada Lovelace", "Ada Lovelace", "Ada Lovelace"),
            (
                "a\r\nb\u{1b}[2J",
                "a  b [2J",
                "a\u{fffd}\u{fffd}b\u{fffd}[2J",
            ),
            ("a\u{2028}b\u{202e}c", "a b c", "a\u{fffd}b\u{fffd}c"),
            ("Zoë 🚀", "Zoë 🚀", "Zoë 🚀"),
        ] {
            assert_eq!((line(text), name(text)), (as_line.into(), as_name.into()));
        }
    }

    #[test]
    fn what_is_too_long_is_marked_as_cut() {
        let whole = "ä".repeat(MOST);
        assert_eq!(name(&whole), whole);
        let cut = name(&format!("{whole}b"));
        assert_eq!(cut.chars().count(), MOST);
        assert!(cut.ends_with("ä…"), "{cut}");
        assert_eq!(name(&cut), cut);
    }
}
