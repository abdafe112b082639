//! Quantities (`500m`, `1Gi`) in the one form in which the API server stores them.
//!
//! `1000m` is stored as `1` and `1024Mi` as `1Gi`, so that a re-apply in another form changes
//! nothing. Values are kept in billionths; what is finer is rounded up.

const NANO: i128 = 1_000_000_000;

/// The canonical form; `None` when the text is no quantity.
pub fn canonical(text: &str) -> Option<String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let nano = nanos(number)?;
    if let Some(exponent) = exponent(suffix) {
        return Some(scientific(scaled(nano, 10, exponent)?));
    }
    if let Some(power) = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
        .iter()
        .position(|s| *s == suffix)
    {
        let value = nano.checked_mul(1_i128.checked_shl(10 * (u32::try_from(power).ok()? + 1))?)?;
        return Some(binary(value));
    }
    let power = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"]
        .iter()
        .position(|s| *s == suffix)?;
    Some(decimal(scaled(nano, 1000, i32::try_from(power).ok()? - 3)?))
}

fn nanos(number: &str) -> Option<i128> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let padded = format!("{fraction:0<9}");
    let mut nano: i128 = padded.get(..9)?.parse().ok()?;
    if padded.get(9..)?.bytes().any(|digit| digit != b'0') {
        nano += 1;
    }
    Some(sign * whole.checked_mul(NANO)?.checked_add(nano)?)
}

fn exponent(suffix: &str) -> Option<i32> {
    let rest = suffix.strip_prefix(['e', 'E'])?;
    rest.parse().ok()
}

fn scaled(value: i128, base: i128, power: i32) -> Option<i128> {
    let factor = base.checked_pow(power.unsigned_abs())?;
    if power >= 0 {
        value.checked_mul(factor)
    } else {
        Some(value.div_euclid(factor) + i128::from(value.rem_euclid(factor) != 0))
    }
}

fn decimal(nano: i128) -> String {
    const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    if nano == 0 {
        return "0".into();
    }
    let (mut value, mut at) = (nano, 0);
    while value % 1000 == 0 && at + 1 < SUFFIXES.len() {
        value /= 1000;
        at += 1;
    }
    format!("{value}{}", SUFFIXES[at])
}

fn binary(nano: i128) -> String {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if nano % NANO != 0 || (nano / NANO).abs() < 1024 {
        return decimal(nano);
    }
    let (mut value, mut at) = (nano / NANO, 0);
    while value % 1024 == 0 && at + 1 < SUFFIXES.len() {
        value /= 1024;
        at += 1;
    }
    format!("{value}{}", SUFFIXES[at])
}

fn scientific(nano: i128) -> String {
    if nano == 0 {
        return "0".into();
    }
    let (mut value, mut power) = (nano, -9);
    while value % 1000 == 0 {
        value /= 1000;
        power += 3;
    }
    if power == 0 {
        value.to_string()
    } else {
        format!("{value}e{power}")
    }
}

/// A quantity as a number, to compare it with others.
pub fn amount(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (digits, unit) = unit.map_or((text, 1.0), |(name, unit)| {
        (&text[..text.len() - name.len()], *unit)
    });
    digits.parse::<f64>().ok().map(|number| number * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_one_form() {
        for (text, want) in [
            ("1000m", "1"),
            ("500m", "500m"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("128Mi", "128Mi"),
            ("1000", "1k"),
            ("2", "2"),
            ("0", "0"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("100M", "100M"),
            ("1500m", "1500m"),
            ("0.1m", "100u"),
            ("1000Mi", "1000Mi"),
            ("-1000m", "-1"),
            ("1024Ki", "1Mi"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(want), "{text}");
        }
        assert_eq!(canonical("fast"), None);
        assert_eq!(canonical(""), None);
    }
}
