//! What a rule counts or samples, as one number: two rules that ask the same of the same series have the
//! same, whatever they tolerate and however they are described.
//!
//! It is saved with what was counted, and told from another after a restart, so it must be the same in
//! every version. Not here: what follows where it differs (`prometheus`, `rollout::evidence`).

use super::{ArmValue, Kind, LabelPattern, Rule, Series};

impl Rule {
    /// A hash (FNV-1a) of what is counted or sampled.
    pub fn counted(&self) -> u32 {
        let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        self.parts()
            .iter()
            .flat_map(|part| part.bytes().chain(std::iter::once(0xff)))
            .fold(0x811c_9dc5, step)
    }

    fn parts(&self) -> Vec<String> {
        let mut parts = match &self.kind {
            Kind::Proportion(proportion) => patterns("proportion", &proportion.bad),
            Kind::Latency(latency) => {
                let unit = if latency.milliseconds { "ms" } else { "s" };
                vec!["latency".to_owned(), unit.to_owned()]
            }
            Kind::Events(_) => vec!["events".to_owned()],
            Kind::Compare(compare) => {
                return vec![compare.canary.to_string(), compare.stable.to_string()];
            }
            Kind::Value(value) => return vec![value.query.to_string()],
            Kind::Load(load) => return vec![load.test.clone()],
        };
        parts.extend(self.metric());
        parts.extend(self.series().map(series).unwrap_or_default());
        parts.extend(patterns("ignore", self.ignore()));
        parts
    }
}

fn series(series: &Series) -> Vec<String> {
    let value = |value: &ArmValue| match value {
        ArmValue::Empty => "empty".to_owned(),
        ArmValue::Nonempty => "nonempty".to_owned(),
        ArmValue::Like(template) => format!("={template}"),
    };
    let mut parts: Vec<String> = series.select.iter().map(ToString::to_string).collect();
    let arm = &series.arm;
    parts.push(arm.labels.join("|"));
    parts.extend([value(&arm.canary), value(&arm.stable)]);
    parts
}

fn patterns(what: &str, patterns: &[LabelPattern]) -> Vec<String> {
    let told = patterns
        .iter()
        .map(|pattern| format!("{}={}", pattern.label, pattern.source()));
    std::iter::once(what.to_owned()).chain(told).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Rule, lint};

    const SHIPPED: &str = include_str!("../../../rules/ingress-nginx.yaml");

    fn counted(text: &str) -> Vec<u32> {
        let rules = lint(text, "f").unwrap();
        rules.iter().map(Rule::counted).collect()
    }

    #[test]
    fn it_is_the_same_in_every_version() {
        assert_eq!(counted(SHIPPED), [3_315_454_740, 3_735_265_294]);
    }

    #[test]
    fn it_changes_with_what_is_counted_and_with_nothing_else() {
        for (what, by, same) in [
            ("ratio: 1.2", "ratio: 2", true),
            ("about: ", "about: the ", true),
            ("quantile: 0.99", "quantile: 0.5", true),
            ("5..", "[45]..", false),
            ("{{ingress}}", "{{service}}", false),
            ("499", "4..", false),
            ("nginx_ingress_controller_requests", "requests_total", false),
        ] {
            assert!(SHIPPED.contains(what), "{what}");
            let changed = counted(&SHIPPED.replace(what, by));
            assert_eq!(changed == counted(SHIPPED), same, "{what}");
        }
    }
}
