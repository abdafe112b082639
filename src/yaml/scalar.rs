//! One scalar of a YAML text written anew, with every other byte as it was.
//!
//! The parsed document says where the scalar begins; its end is read from the text. Afterwards the
//! text is parsed again: it must differ from the old one in exactly that scalar, or nothing is
//! written. So comments, indentation, line ends and quotes stay, and a form that is not understood
//! here (an alias, a block that ends in a line, escapes) is refused instead of guessed.
//!
//! Not here: which scalar (`places`).

use std::ops::Range;

use super::{self as yaml, Kind, Node, Place};

/// Why a scalar cannot be written anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is an alias of a value elsewhere.
    #[error("found an alias; write the value itself")]
    Alias,
    /// It is written in a form that is not changed here.
    #[error("found {0}; write it in one line, plain or in quotes")]
    Form(&'static str),
    /// It is a number, where a tag is wanted.
    #[error("found the number {0}, and a tag is text; put it in quotes")]
    Number(String),
    /// The anchor's value is used elsewhere too.
    #[error("changing it would change {0} too: they share an anchor")]
    Shared(String),
    /// Parsed again, the text says something else.
    #[error("the text cannot be changed safely here: {0}")]
    Unsafe(String),
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

/// The scalar at `place` as it is written, without quotes: a tag `1.10` is not the number 1.1.
pub fn written(text: &str, place: Place) -> Result<String, Fault> {
    let (range, _) = token(text, place)?;
    Ok(text[range].to_owned())
}

/// `text` with `value` as the scalar at `place`, in the old quotes; plain text gets quotes where
/// YAML would take it for a number or a word of its own.
pub fn replaced(text: &str, place: Place, value: &str) -> Result<String, Fault> {
    let (range, style) = token(text, place)?;
    if style == Style::Single && value.contains('\'') || value.contains(['"', '\\', '\n']) {
        return Err(Fault::Form("a value with quotes or escapes"));
    }
    let quoted = match style {
        Style::Plain if !plain(value) => format!("\"{value}\""),
        Style::Plain | Style::Single | Style::Double => value.to_owned(),
    };
    let new = [&text[..range.start], &quoted, &text[range.end..]].concat();
    only(text, &new, value)?;
    Ok(new)
}

/// The same for the scalar at `place` of a text that is itself the scalar at `block` of this one, as a patch is in
/// a kustomization: a literal block (`|`), whose lines stand as they are.
pub fn replaced_within(
    text: &str,
    block: Place,
    place: Place,
    value: &str,
) -> Result<String, Fault> {
    let form = Fault::Form("a text within a text that is no literal block");
    let documents = yaml::documents(text).map_err(|error| Fault::Unsafe(error.to_string()))?;
    let content = documents.iter().find_map(|node| text_at(node, block));
    let content = content.ok_or_else(|| form.clone())?;
    let new = replaced(content, place, value)?;
    let at = Place {
        line: block.line + place.line - 1,
        column: block.column + place.column - 1,
    };
    let (range, inner) = (token(text, at)?.0, token(content, place)?.0);
    if text[range.clone()] != content[inner.clone()] {
        return Err(form);
    }
    let behind = content.len() - inner.end;
    let piece = &new[inner.start..new.len() - behind];
    let whole = [&text[..range.start], piece, &text[range.end..]].concat();
    only(text, &whole, &new)?;
    Ok(whole)
}

/// The text of the scalar that begins there.
fn text_at(node: &Node, place: Place) -> Option<&str> {
    match &node.kind {
        Kind::Text(text) => (node.place == place).then_some(text),
        Kind::List(items) => items.iter().find_map(|item| text_at(item, place)),
        Kind::Map(entries) => entries.iter().find_map(|it| text_at(&it.value, place)),
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => None,
    }
}

/// That the two texts differ in one scalar, which is `value` now.
fn only(old: &str, new: &str, value: &str) -> Result<(), Fault> {
    let read = |text| yaml::documents(text).map_err(|error| Fault::Unsafe(error.to_string()));
    let (old, new) = (scalars(&read(old)?), scalars(&read(new)?));
    if old.len() != new.len() || old.iter().zip(&new).any(|(old, new)| old.0 != new.0) {
        return Err(Fault::Unsafe("other keys would come of it".to_owned()));
    }
    let changed = old.iter().zip(&new).filter(|(old, new)| old.1 != new.1);
    let changed: Vec<&(String, Kind)> = changed.map(|(_, new)| new).collect();
    match changed.as_slice() {
        [] | [(_, Kind::Text(_))] if changed.iter().all(|(_, kind)| is(kind, value)) => Ok(()),
        [] | [_] => Err(Fault::Unsafe(format!("it would not be read as {value:?}"))),
        [_, others @ ..] => {
            let others: Vec<&str> = others.iter().map(|(path, _)| path.as_str()).collect();
            Err(Fault::Shared(others.join(", ")))
        }
    }
}

fn is(kind: &Kind, value: &str) -> bool {
    matches!(kind, Kind::Text(text) if text == value)
}

/// Each scalar of the documents by its path.
fn scalars(documents: &[Node]) -> Vec<(String, Kind)> {
    let mut all = Vec::new();
    for (number, document) in documents.iter().enumerate() {
        gather(document, &number.to_string(), &mut all);
    }
    all
}

fn gather(node: &Node, path: &str, all: &mut Vec<(String, Kind)>) {
    match &node.kind {
        Kind::Map(entries) => {
            for entry in entries {
                gather(&entry.value, &format!("{path}.{}", entry.key), all);
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                gather(item, &format!("{path}[{index}]"), all);
            }
        }
        scalar => all.push((path.to_owned(), scalar.clone())),
    }
}

/// Whether every reader of YAML, 1.1 and 1.2, takes it for text without quotes.
fn plain(value: &str) -> bool {
    const WORDS: [&str; 12] = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "~",
    ];
    let simple = |c: char| c.is_ascii_alphanumeric() || "._-/@+:=".contains(c);
    let letter = value.starts_with(|c: char| c.is_ascii_alphabetic());
    let dotted = value.starts_with(|c: char| c.is_ascii_digit()) && value.matches('.').count() > 1;
    let word = WORDS.contains(&value.to_ascii_lowercase().as_str());
    let ends = value.ends_with(':');
    (letter || dotted) && !word && !ends && value.chars().all(simple)
}

/// Where the scalar's text lies, without its quotes.
fn token(text: &str, place: Place) -> Result<(Range<usize>, Style), Fault> {
    let mut at = offset(text, place).ok_or(Fault::Form("no place"))?;
    loop {
        let rest = &text[at..];
        return match rest.chars().next() {
            Some('&' | '!') => {
                let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let gap = rest[word..].find(|c: char| c != ' ' && c != '\t');
                at += word + gap.unwrap_or(0);
                if gap.is_none() || text[at..].starts_with(['\n', '\r']) {
                    return Err(Fault::Form("a value on another line than its anchor"));
                }
                continue;
            }
            Some('*') => Err(Fault::Alias),
            Some(quote @ ('"' | '\'')) => quoted(rest, quote).map(|(length, style)| {
                let begin = at + 1;
                (begin..begin + length, style)
            }),
            Some('{' | '[') | None => Err(Fault::Form("no scalar")),
            Some(_) => Ok((at..at + plain_length(rest), Style::Plain)),
        };
    }
}

/// The byte at which a place begins.
fn offset(text: &str, place: Place) -> Option<usize> {
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
    let mut begin = 0;
    for _ in 0..line {
        begin += text[begin..].find('\n')? + 1;
    }
    let line = &text[begin..];
    let within = line.char_indices().nth(column).map(|(at, _)| at)?;
    Some(begin + within)
}

fn quoted(rest: &str, quote: char) -> Result<(usize, Style), Fault> {
    let length = rest[1..].find(quote).ok_or(Fault::Form("an open quote"))?;
    let inner = &rest[1..=length];
    let doubled = quote == '\'' && rest[length + 2..].starts_with('\'');
    if doubled || inner.contains(['\\', '\n']) {
        return Err(Fault::Form("a value with escapes"));
    }
    let style = if quote == '"' {
        Style::Double
    } else {
        Style::Single
    };
    Ok((length, style))
}

/// Images and tags hold no comma, no bracket and no space, so these end one everywhere.
fn plain_length(rest: &str) -> usize {
    rest.find(|c: char| c.is_whitespace() || ",]}".contains(c))
        .unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replaces the value at the path `a.b`, or as the path says.
    fn edit(text: &str, path: &str, value: &str) -> Result<String, Fault> {
        let documents = yaml::documents(text).unwrap();
        let node = documents
            .iter()
            .find_map(|document| value_at(document, path));
        replaced(text, node.unwrap().place, value)
    }

    fn value_at<'a>(document: &'a Node, path: &str) -> Option<&'a Node> {
        path.split('.')
            .try_fold(document, |node, part| match &node.kind {
                Kind::List(items) => items.get(part.parse::<usize>().ok()?),
                _ => node.get(part),
            })
    }

    #[test]
    fn one_scalar_changes_and_every_other_byte_stays() {
        let cases = [
            ("a: v1\n", "a: v2\n"),
            ("a: v1", "a: v2"),
            ("a:   v1   # why\nb: 1\n", "a:   v2   # why\nb: 1\n"),
            ("a: 'v1'\n", "a: 'v2'\n"),
            ("a: \"v1\" # c\n", "a: \"v2\" # c\n"),
            (
                "# first\r\na: v1\r\nb: 1\r\n",
                "# first\r\na: v2\r\nb: 1\r\n",
            ),
            ("{b: 1, a: v1}\n", "{b: 1, a: v2}\n"),
            (
                "{b: [1, 2], a: 'v1', c: 3}\n",
                "{b: [1, 2], a: 'v2', c: 3}\n",
            ),
            (
                "b: 1\n---\n# two\na: v1\n...\n",
                "b: 1\n---\n# two\na: v2\n...\n",
            ),
            ("a: &tag v1\nb: 1\n", "a: &tag v2\nb: 1\n"),
            ("a: !!str v1\n", "a: !!str v2\n"),
            ("é: ü\na: v1 # ä\n", "é: ü\na: v2 # ä\n"),
            ("{é: ü, a: v1}\n", "{é: ü, a: v2}\n"),
            ("a: # below\n  v1\n", "a: # below\n  v2\n"),
            ("b: |\n  a: v1\na: v1\n", "b: |\n  a: v1\na: v2\n"),
        ];
        for (old, new) in cases {
            assert_eq!(edit(old, "a", "v2").as_deref(), Ok(new), "{old}");
        }
    }

    #[test]
    fn what_looks_like_a_number_or_a_word_of_yaml_gets_quotes() {
        let cases = [
            ("1.10", "a: \"1.10\"\n"),
            ("1.10.0", "a: 1.10.0\n"),
            ("20261122", "a: \"20261122\"\n"),
            ("2026-11-22", "a: \"2026-11-22\"\n"),
            ("1e3", "a: \"1e3\"\n"),
            ("on", "a: \"on\"\n"),
            ("v1", "a: v1\n"),
            ("main-3f2a91", "a: main-3f2a91\n"),
            ("3f2a91", "a: \"3f2a91\"\n"),
            (
                "registry.example:5000/a/b:v1@sha256:00",
                "a: registry.example:5000/a/b:v1@sha256:00\n",
            ),
        ];
        for (value, wanted) in cases {
            assert_eq!(edit("a: v0\n", "a", value).as_deref(), Ok(wanted));
        }
        assert_eq!(edit("a: 1.1\n", "a", "1.2.3").as_deref(), Ok("a: 1.2.3\n"));
    }

    #[test]
    fn a_tag_is_read_as_it_is_written() {
        for (text, wanted) in [
            ("a: 1.10\n", "1.10"),
            ("a: '1.10'\n", "1.10"),
            ("a: 012 # x\n", "012"),
        ] {
            let documents = yaml::documents(text).unwrap();
            let place = documents[0].get("a").unwrap().place;
            assert_eq!(written(text, place).as_deref(), Ok(wanted));
        }
    }

    /// Replaces `a` in the text at `p`.
    fn edit_within(text: &str, value: &str) -> Result<String, Fault> {
        let documents = yaml::documents(text).unwrap();
        let block = documents[0].get("p").unwrap();
        let inner = yaml::documents(block.text().unwrap()).unwrap();
        replaced_within(text, block.place, inner[0].get("a").unwrap().place, value)
    }

    #[test]
    fn a_scalar_in_a_block_of_text_changes_alone() {
        for (old, new) in [
            (
                "p: |\n  b: 1\n  a: v1 # c\nq: 1\n",
                "p: |\n  b: 1\n  a: v2 # c\nq: 1\n",
            ),
            ("p: |-\r\n    a: 'v1'\r\n", "p: |-\r\n    a: 'v2'\r\n"),
            (
                "x:\n- 1\np: |+\n  # first\n  a: v1\n\n",
                "x:\n- 1\np: |+\n  # first\n  a: v2\n\n",
            ),
        ] {
            assert_eq!(edit_within(old, "v2").as_deref(), Ok(new), "{old}");
        }
        let quoted = edit_within("p: |\n  a: v1\n", "1.10");
        assert_eq!(quoted.as_deref(), Ok("p: |\n  a: \"1.10\"\n"));
        for text in ["p: \"b: 1\\na: v1\\n\"\n", "p: >\n  b: 1\n\n  a: v1\n"] {
            assert!(edit_within(text, "v2").is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_changed_alone_is_refused() {
        let cases = [
            ("b: &t v1\na: *t\n", "a", Fault::Alias),
            ("a: &t v1\nb: *t\n", "a", Fault::Shared("0.b".to_owned())),
            (
                "a: |\n  v1\n",
                "a",
                Fault::Unsafe("it would not be read as \"v2\"".to_owned()),
            ),
            ("a: \"v\\x31\"\n", "a", Fault::Form("a value with escapes")),
            ("a: 'v''1'\n", "a", Fault::Form("a value with escapes")),
            ("a: {b: 1}\n", "a", Fault::Form("no scalar")),
        ];
        for (text, path, fault) in cases {
            assert_eq!(edit(text, path, "v2"), Err(fault), "{text}");
        }
    }
}
