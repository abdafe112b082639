//! Metrics texts of several environments as one: each family once, with the samples of all.
//!
//! The exposition format wants a family's samples together beneath one description. The texts are
//! our own, so nothing is checked here; their samples differ by the label `environment`.

use std::collections::BTreeMap;

const END: &str = "# EOF";

/// One family: its description, and its samples.
#[derive(Debug, Default)]
struct Family<'a> {
    about: Vec<&'a str>,
    samples: Vec<&'a str>,
}

/// The texts as one.
pub fn joined(texts: &[String]) -> String {
    let mut order = Vec::new();
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    for text in texts {
        let mut name = "";
        // Whether this text is the first to describe the family.
        let mut first = false;
        for line in text.lines().filter(|line| *line != END) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                name = rest.split(' ').next().unwrap_or_default();
                first = !families.contains_key(name);
                if first {
                    order.push(name);
                }
            }
            let family = families.entry(name).or_default();
            match line.starts_with('#') {
                true if first => family.about.push(line),
                true => {}
                false => family.samples.push(line),
            }
        }
    }
    let mut all: Vec<&str> = Vec::new();
    for family in order.into_iter().filter_map(|name| families.remove(name)) {
        all.extend(family.about);
        all.extend(family.samples);
    }
    all.push(END);
    all.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_described_once_and_has_the_samples_of_all() {
        let text = |environment: &str, more: &str| {
            format!(
                "# HELP a About a.\n# TYPE a counter\na_total{{environment=\"{environment}\"}} 1\n{more}# EOF\n"
            )
        };
        let texts = [
            text("one", ""),
            text("two", "# HELP b B.\n# TYPE b gauge\nb 2\n"),
        ];
        let wanted = "# HELP a About a.\n# TYPE a counter\na_total{environment=\"one\"} 1\n\
                      a_total{environment=\"two\"} 1\n# HELP b B.\n# TYPE b gauge\nb 2\n# EOF\n";
        assert_eq!(joined(&texts), wanted);
    }
}
