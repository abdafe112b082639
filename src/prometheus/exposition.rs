//! Scanning Prometheus' text format, line by line, as it arrives.
//!
//! Only lines of wanted metrics are parsed; all others are skipped by their first bytes, so that
//! ten megabytes of a busy router cost little. Input is not trusted: lines and labels are
//! limited, and what cannot be read is counted, never a crash. Timestamps, exemplars, types
//! and help are passed over; `# EOF` ends an `OpenMetrics` text.
//!
//! Not here: fetching (`scrape`), and whose a series is (`sorting`).

use std::borrow::Cow;

/// The longest line that is read, in bytes.
const LINE_LIMIT: usize = 64 << 10;
/// The most labels of a series.
const LABEL_LIMIT: usize = 64;

/// A sample line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line<'a> {
    /// Name of the metric, with its suffix (`_bucket`, `_total`).
    pub name: &'a str,
    /// In the order of the text.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub value: f64,
}

/// Reads a text in pieces.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    wanted: Vec<String>,
    rest: Vec<u8>,
    ended: bool,
    skipping: bool,
    /// Wanted lines that could not be read.
    pub malformed: usize,
}

impl Scanner {
    /// Reads lines of the `wanted` metrics only.
    pub fn new(wanted: Vec<String>) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// Takes the next piece and gives each complete line to `take`.
    pub fn feed(&mut self, piece: &[u8], mut take: impl FnMut(&Line<'_>)) {
        let mut piece = piece;
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&piece[..end], &piece[end + 1..]);
            if self.rest.is_empty() && !self.skipping {
                self.line(line, &mut take);
            } else {
                self.keep(line);
                self.finish_line(&mut take);
            }
            piece = after;
        }
        self.keep(piece);
    }

    /// The end of the text: its last line may lack a newline.
    pub fn finish(&mut self, mut take: impl FnMut(&Line<'_>)) {
        self.finish_line(&mut take);
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.rest.len() + piece.len() > LINE_LIMIT {
            self.rest.clear();
            self.skipping = true;
        }
        if !self.skipping {
            self.rest.extend_from_slice(piece);
        }
    }

    fn finish_line(&mut self, take: &mut impl FnMut(&Line<'_>)) {
        let line = std::mem::take(&mut self.rest);
        if std::mem::take(&mut self.skipping) {
            self.malformed += 1;
            return;
        }
        self.line(&line, take);
        self.rest = line;
        self.rest.clear();
    }

    fn line(&mut self, line: &[u8], take: &mut impl FnMut(&Line<'_>)) {
        self.ended |= line.trim_ascii_end() == b"# EOF";
        let line = line.trim_ascii_start();
        if self.ended || !self.wants(line) {
            return;
        }
        match std::str::from_utf8(line)
            .ok()
            .filter(|line| line.len() <= LINE_LIMIT)
            .and_then(parse)
        {
            Some(line) => take(&line),
            None => self.malformed += 1,
        }
    }

    fn wants(&self, line: &[u8]) -> bool {
        let ends = |line: &[u8]| {
            line.first()
                .is_none_or(|byte| matches!(byte, b'{' | b' ' | b'\t' | b'\r'))
        };
        self.wanted
            .iter()
            .any(|name| line.strip_prefix(name.as_bytes()).is_some_and(ends))
    }
}

/// Parses one sample line; `None` when it is malformed.
fn parse(line: &str) -> Option<Line<'_>> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(BLANK);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Line {
        name,
        labels,
        value,
    })
}

const BLANK: [char; 2] = [' ', '\t'];

type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Parses labels after `{`, and returns what follows `}`.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(BLANK);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = label_name(rest)?;
        let after = after.trim_start_matches(BLANK).strip_prefix('=')?;
        let (value, after) = quoted(after.trim_start_matches(BLANK))?;
        labels.push((name, value));
        rest = after.trim_start_matches(BLANK);
        rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None if rest.starts_with('}') => rest,
            None => return None,
        };
        if labels.len() > LABEL_LIMIT {
            return None;
        }
    }
}

fn label_name(rest: &str) -> Option<(Cow<'_, str>, &str)> {
    if rest.starts_with('"') {
        return quoted(rest);
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, after) = rest.split_at(end);
    (!name.is_empty()).then_some((Cow::Borrowed(name), after))
}

/// A quoted text and what follows it.
fn quoted(rest: &str) -> Option<(Cow<'_, str>, &str)> {
    let rest = rest.strip_prefix('"')?;
    let end = rest.find(['"', '\\'])?;
    if rest[end..].starts_with('"') {
        return Some((Cow::Borrowed(&rest[..end]), &rest[end + 1..]));
    }
    let mut text = rest[..end].to_owned();
    let mut chars = rest[end..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(text), &rest[end + at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                c @ ('\\' | '"') => text.push(c),
                // As Prometheus' own parser has it: an unknown escape stays as it is.
                c => text.extend(['\\', c]),
            },
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::registry::Registry;
    use proptest::prelude::*;

    type Row = (Vec<(String, String)>, f64);

    /// Scans a text in pieces of `size` bytes.
    fn scan(text: &[u8], wanted: &str, size: usize) -> (Vec<Row>, usize) {
        let mut scanner = Scanner::new(vec![wanted.to_owned()]);
        let mut rows = Vec::new();
        let mut take = |line: &Line<'_>| {
            let own = |(name, value): &(Cow<'_, str>, Cow<'_, str>)| {
                (name.to_string(), value.to_string())
            };
            rows.push((line.labels.iter().map(own).collect(), line.value));
        };
        for piece in text.chunks(size.max(1)) {
            scanner.feed(piece, &mut take);
        }
        scanner.finish(&mut take);
        (rows, scanner.malformed)
    }

    fn one(line: &str) -> Option<Row> {
        let (mut rows, malformed) = scan(line.as_bytes(), "m", 1000);
        assert!(rows.len() + malformed <= 1);
        rows.pop()
    }

    #[allow(clippy::unnecessary_wraps)] // compared with what may be none
    fn row(labels: &[(&str, &str)], value: f64) -> Option<Row> {
        Some((
            labels
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
            value,
        ))
    }

    #[test]
    fn lines_are_read_in_all_their_forms() {
        let table = [
            ("m 1", row(&[], 1.0)),
            ("m{} 1", row(&[], 1.0)),
            (
                "  m\t{ a = \"b\" , c=\"\", }  1.5e3 1395066363000",
                row(&[("a", "b"), ("c", "")], 1500.0),
            ),
            (
                r#"m{a="x\\y\"z\nw\d"} 1"#,
                row(&[("a", "x\\y\"z\nw\\d")], 1.0),
            ),
            ("m{a=\"}\"} +Inf\r", row(&[("a", "}")], f64::INFINITY)),
            (
                "m{a=\"b\"} 4 # {trace_id=\"x\"} 0.67 1.5",
                row(&[("a", "b")], 4.0),
            ),
            ("m{\"a.b\"=\"ä\"} 1", row(&[("a.b", "ä")], 1.0)),
            ("# TYPE m counter", None),
            ("m_total 1", None),
            ("mm 1", None),
            ("", None),
        ];
        for (line, want) in table {
            assert_eq!(one(line), want, "{line:?}");
        }
    }

    #[test]
    fn malformed_lines_are_counted() {
        for line in [
            "m",
            "m{",
            "m{a",
            "m{a=",
            "m{a=\"",
            "m{a=\"b\"",
            "m{a=\"b\" c=\"d\"} 1",
            "m{a=\"b\"}",
            "m x",
            "m{=\"b\"} 1",
            "m{a=\"\\",
        ] {
            assert_eq!(scan(line.as_bytes(), "m", 7), (Vec::new(), 1), "{line:?}");
        }
        let long = format!("m{{a=\"{}\"}} 1\nm 2\n", "x".repeat(LINE_LIMIT));
        assert_eq!(scan(long.as_bytes(), "m", 1000), (vec![(vec![], 2.0)], 1));
        let many = format!("m{{{}}} 1\n", "a=\"b\",".repeat(LABEL_LIMIT + 1));
        assert_eq!(scan(many.as_bytes(), "m", 1 << 20), (Vec::new(), 1));
    }

    #[test]
    fn nothing_is_read_after_the_end_of_an_openmetrics_text() {
        assert_eq!(scan(b"m 1\n# EOF\nm 2\n", "m", 3).0.len(), 1);
    }

    proptest! {
        #[test]
        fn what_prometheus_client_writes_is_read_back(
            values in proptest::collection::btree_map("[^\u{0}]{0,12}", 0u32..1000, 1..6),
            size in 1usize..64,
        ) {
            let family = Family::<Vec<(String, String)>, Counter>::default();
            for (label, count) in &values {
                family.get_or_create(&vec![("path".to_owned(), label.clone())]).inc_by(u64::from(*count));
            }
            let mut registry = Registry::default();
            registry.register("m", "help with \\ and \"", family);
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let (rows, malformed) = scan(text.as_bytes(), "m_total", size);
            let read: std::collections::BTreeMap<String, u32> =
                rows.into_iter().map(|(mut labels, value)| (labels.remove(0).1, value as u32)).collect();
            prop_assert_eq!(malformed, 0);
            prop_assert_eq!(read, values);
        }

        #[test]
        fn no_bytes_make_it_crash(text: Vec<u8>, size in 1usize..9) {
            scan(&text, "m", size);
        }

        #[test]
        fn nothing_like_a_line_makes_it_crash(text in "m[{}\"\\\\=,a \\n#]{0,40}", size in 1usize..9) {
            scan(text.as_bytes(), "m", size);
        }
    }
}
