//! JSON read value by value, without building anything: for lines of a known form.
//!
//! As strict as the standard, but for `NaN`, `Infinity` and `-Infinity`, which programs write for
//! sampled numbers. Names and texts borrow from the line where they have no escapes. Not here: which
//! values are wanted.

use std::borrow::Cow;

use crate::rollout::evidence::judge::Fault;

/// Values nested deeper are refused.
const DEEPEST: usize = 64;
/// Characters of a wrong value that are shown.
const SHOWN: usize = 24;
/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// A place in a text.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is no space, not taken.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `byte` if it is the next.
    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8, wanted: &str) -> Result<(), Fault> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.fault(wanted))
        }
    }

    /// What is at the cursor is not what is wanted there.
    pub fn fault(&mut self, wanted: &str) -> Fault {
        self.peek();
        Fault::new(format!("byte {}", self.at + 1), self.shown(), wanted)
    }

    /// The value at the cursor is of another sort than `field` wants.
    fn wrong(&mut self, field: &str, wanted: &str) -> Fault {
        self.peek();
        let start = self.at;
        let end = match self.skip(0) {
            Ok(()) => self.at,
            Err(fault) => return fault,
        };
        self.at = start;
        let text = String::from_utf8_lossy(self.text.get(start..end).unwrap_or_default());
        Fault::new(field, cut(&text), wanted)
    }

    fn shown(&self) -> String {
        let rest = self.text.get(self.at..).unwrap_or_default();
        match rest {
            [] => "the end of the line".to_owned(),
            rest => {
                let part = rest.get(..SHOWN).unwrap_or(rest);
                let text = String::from_utf8_lossy(part);
                format!("`{}`", text.trim_end())
            }
        }
    }

    /// Nothing may follow.
    pub fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault("the end of the line")),
        }
    }

    /// An object: `each` is given every name with the cursor at its value, and takes the value.
    pub fn object(
        &mut self,
        field: &str,
        mut each: impl FnMut(&[u8], &mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.peek() != Some(b'{') {
            return Err(self.wrong(field, "an object"));
        }
        self.at += 1;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.name()?;
            self.expect(b':', "a colon")?;
            each(&name, self)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma or `}`")?;
        }
    }

    /// An array: `each` takes one value.
    pub fn array(
        &mut self,
        field: &str,
        mut each: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.peek() != Some(b'[') {
            return Err(self.wrong(field, "a list"));
        }
        self.at += 1;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "a comma or `]`")?;
        }
    }

    /// A name is only compared, so it need not be UTF-8.
    fn name(&mut self) -> Result<Cow<'a, [u8]>, Fault> {
        if self.peek() == Some(b'"') {
            self.quoted()
        } else {
            Err(self.fault("a name in quotes"))
        }
    }

    /// A text.
    pub fn string(&mut self, field: &str) -> Result<Cow<'a, str>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong(field, "a text in quotes"));
        }
        let no_text = |_| Fault::new(field, "bytes that are no UTF-8", "a text");
        match self.quoted()? {
            Cow::Borrowed(bytes) => Ok(Cow::Borrowed(std::str::from_utf8(bytes).map_err(no_text)?)),
            Cow::Owned(bytes) => {
                let text = String::from_utf8(bytes).map_err(|error| no_text(error.utf8_error()))?;
                Ok(Cow::Owned(text))
            }
        }
    }

    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, Fault> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(byte) if *byte >= b' ' => self.at += 1,
                _ => {
                    self.at = self.at.min(self.text.len());
                    return Err(self.fault("a closing quote"));
                }
            }
        }
        self.at += 1;
        let whole = self.text.get(start..self.at).unwrap_or_default();
        if !escaped {
            let inner = whole.get(1..whole.len() - 1).unwrap_or_default();
            return Ok(Cow::Borrowed(inner));
        }
        let text = serde_json::from_slice::<String>(whole);
        text.map(|text| Cow::Owned(text.into_bytes())).map_err(|_| {
            let found = cut(&String::from_utf8_lossy(whole)).to_owned();
            Fault::new(
                format!("byte {}", start + 1),
                found,
                "a text with sound escapes",
            )
        })
    }

    /// A finite number.
    pub fn number(&mut self, field: &str) -> Result<f64, Fault> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.wrong(field, "a number"));
        }
        let start = self.at;
        match self.plain() {
            Some(value) if value.is_finite() => Ok(value),
            found => {
                let end = self.at;
                self.at = start;
                if found.is_none() {
                    return Err(self.fault("a number"));
                }
                let text = self.text.get(start..end).unwrap_or_default();
                let text = String::from_utf8_lossy(text);
                Err(Fault::new(field, cut(&text), "a finite number"))
            }
        }
    }

    /// A sampled number; what is none (`null`, `NaN`) is `NAN`.
    pub fn sample(&mut self, field: &str) -> Result<f64, Fault> {
        self.peek();
        match self.unusual() {
            Some(value) => Ok(value),
            None => self.number(field),
        }
    }

    /// What stands for a number and is none in JSON.
    fn unusual(&mut self) -> Option<f64> {
        let words = [
            ("null", f64::NAN),
            ("NaN", f64::NAN),
            ("Infinity", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ];
        let (_, value) = words.into_iter().find(|(word, _)| self.word(word))?;
        Some(value)
    }

    fn word(&mut self, word: &str) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let there = rest.starts_with(word.as_bytes());
        if there {
            self.at += word.len();
        }
        there
    }

    /// A number as JSON writes it, or `None` with the cursor anywhere.
    fn plain(&mut self) -> Option<f64> {
        let start = self.at;
        let negative = self.next_is(b'-');
        let leading_zero = self.text.get(self.at) == Some(&b'0');
        let (mut digits, mut mantissa) = (0, 0_u64);
        self.digits(&mut mantissa, &mut digits);
        if digits == 0 || (leading_zero && digits > 1) {
            return None;
        }
        let whole = digits;
        if self.next_is(b'.') {
            self.digits(&mut mantissa, &mut digits);
            if digits == whole {
                return None;
            }
        }
        let exponent = matches!(self.text.get(self.at), Some(b'e' | b'E'));
        if !exponent && digits <= 15 {
            // Both are exact, so the quotient is rounded once: the nearest number.
            let value = mantissa as f64 / POWERS.get(digits - whole)?;
            return Some(if negative { -value } else { value });
        }
        if exponent {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            let (mut count, mut ignored) = (0, 0);
            self.digits(&mut ignored, &mut count);
            if count == 0 {
                return None;
            }
        }
        let text = std::str::from_utf8(self.text.get(start..self.at)?).ok()?;
        text.parse().ok()
    }

    fn next_is(&mut self, byte: u8) -> bool {
        let there = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    fn digits(&mut self, value: &mut u64, count: &mut usize) {
        while let Some(byte @ b'0'..=b'9') = self.text.get(self.at) {
            *value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            *count += 1;
            self.at += 1;
        }
    }

    /// Passes over a value of any sort.
    pub fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > DEEPEST {
            return Err(self.fault("values that are not nested so deeply"));
        }
        match self.peek() {
            Some(b'{') => self.object("", |_, cursor| cursor.skip(depth + 1)),
            Some(b'[') => self.array("", |cursor| cursor.skip(depth + 1)),
            Some(b'"') => self.quoted().map(drop),
            _ if self.word("true") || self.word("false") || self.unusual().is_some() => Ok(()),
            Some(b'-' | b'0'..=b'9') => self.number("").map(drop),
            _ => Err(self.fault("a value")),
        }
    }
}

fn cut(text: &str) -> &str {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_to_the_last_bit() {
        for text in [
            "0",
            "-0",
            "12",
            "12.0",
            "0.1",
            "1e3",
            "1.5E-7",
            "123456789.123456",
            "0.000001",
            "99999999999999999999",
            "3.141592653589793",
            "2.5e+10",
            "1234567890123456",
        ] {
            let want: f64 = text.parse().unwrap();
            let got = Cursor::new(text.as_bytes()).number("x").unwrap();
            assert_eq!(got.to_bits(), want.to_bits(), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", "01", "1.", ".5", "1e", "+1", "\"1\"", "true", "{", "1e999", "NaN",
        ] {
            let mut cursor = Cursor::new(text.as_bytes());
            let read = cursor.number("x").and_then(|_| cursor.end());
            assert!(read.is_err(), "{text}");
        }
    }

    fn skipped(text: &[u8]) -> bool {
        let mut cursor = Cursor::new(text);
        cursor.skip(0).and_then(|()| cursor.end()).is_ok()
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_passed_over(text in "[ -~]{0,20}", number in any::<f64>()) {
            let value = serde_json::json!({&text: [number, null, true, {"a": &text}], "b": []});
            prop_assert!(skipped(value.to_string().as_bytes()));
        }

        #[test]
        fn what_serde_refuses_is_refused(text in "[\\[\\]{}:,\"0-9a.eE+\\-tru nl]{0,12}") {
            let sound = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(skipped(text.as_bytes()), sound, "{}", text);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            skipped(&bytes);
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert!(!skipped("[".repeat(100_000).as_bytes()));
    }
}
