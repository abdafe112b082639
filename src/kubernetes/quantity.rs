//! Kubernetes quantities, as far as comparing them needs: `1000m` is `1`, `1024Mi` is `1Gi`.
//!
//! Exact: a decimal number of any length and one of the suffixes of `resource.Quantity`, in
//! integers. What does not parse, or would need more than 128 bits, is left as it is: two texts
//! then compare as texts, which errs on the side of "changed".
//!
//! Not here: arithmetic, rounding to milli or nano units, and printing for people.

/// A text that equal quantities share: `<digits>e<exponent>` without trailing zeros.
pub(crate) fn canonical(text: &str) -> String {
    parse(text).unwrap_or_else(|| text.to_owned())
}

fn parse(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (factor, exponent) = scale(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let digits = digits.checked_mul(factor)?;
    Some(shortest(
        sign,
        digits,
        exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?,
    ))
}

fn shortest(sign: &str, mut digits: u128, mut exponent: i32) -> String {
    if digits == 0 {
        return "0e0".to_owned();
    }
    while digits.is_multiple_of(10) {
        digits /= 10;
        exponent = exponent.saturating_add(1);
    }
    format!("{sign}{digits}e{exponent}")
}

/// What a suffix multiplies by: a factor and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_quantities_have_one_text() {
        let table: [&[&str]; 6] = [
            &["1", "1000m", "1.0", "+1", "1e0", "1000000u"],
            &["1Gi", "1024Mi", "1073741824", "1048576Ki"],
            &["0", "0m", "0.0", "-0", "0Gi"],
            &["100M", "0.1G", "1e8", "1E8"],
            &["1.5Gi", "1536Mi"],
            &["-1", "-1000m"],
        ];
        let texts: Vec<String> = table.iter().map(|row| canonical(row[0])).collect();
        for (row, text) in table.iter().zip(&texts) {
            for quantity in *row {
                assert_eq!(&canonical(quantity), text, "{quantity}");
            }
        }
        assert_eq!(
            texts
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            table.len()
        );
    }

    #[test]
    fn what_is_no_quantity_stays_as_it_is() {
        for text in [
            "",
            "x",
            "1.2.3",
            "1Qi",
            ".",
            "1e",
            "-",
            "99999999999999999999999999999999999999999",
        ] {
            assert_eq!(canonical(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,20}") {
            let _ = canonical(&text);
        }
    }
}
