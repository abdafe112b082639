//! The kind of rule that asks for synthetic load as people write it: `load: {test: health, every: 200ms}`.
//!
//! Only a declared smoke test can be asked for, and its rate is bounded. Whether there is a test of
//! that name is the daemon's matter, since tests are files of their own.
//!
//! Not here: what its results come to (`rollout::evidence`), and sending anything (the daemon).

use std::time::Duration;

use super::yaml::{Reader, duration};
use super::{Kind, Load};
use crate::yaml::Node;

/// Time between two tries where nothing is said.
const EVERY: Duration = Duration::from_millis(200);
/// The shortest and the longest time between two tries.
const RANGE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

impl Reader<'_> {
    pub(super) fn load(&mut self, node: &Node, path: &str) -> Option<Kind> {
        let mut fields = self.fields(node, path)?;
        let test = self
            .required(&mut fields, "test")
            .and_then(|node| self.text(node, &fields.path("test")));
        let every = match fields.take("every") {
            None => Some(EVERY),
            Some(node) => self.pace(node, &fields.path("every")),
        };
        self.leftovers(&fields);
        Some(Kind::Load(Load {
            test: test?,
            every: every?,
        }))
    }

    fn pace(&mut self, node: &Node, key: &str) -> Option<Duration> {
        let (least, most) = RANGE;
        let every = duration(node).filter(|every| (least..=most).contains(every));
        if every.is_none() {
            self.wrong(node, key, "a time from 50ms to 10s is right, as in 200ms");
        }
        every
    }
}

#[cfg(test)]
mod tests {
    use super::super::lint;
    use super::*;

    fn read(load: &str) -> Result<Kind, String> {
        let text = format!("- name: probe\n  load: {load}\n  max: 1%\n");
        let rules = lint(&text, "r").map_err(|problems| problems[0].to_string())?;
        Ok(rules[0].kind.clone())
    }

    #[test]
    fn a_load_names_a_test_and_its_pace() {
        let load = |every| {
            let every = Duration::from_millis(every);
            let test = "health".to_owned();
            Ok(Kind::Load(Load { test, every }))
        };
        assert_eq!(read("{test: health}"), load(200));
        assert_eq!(read("{test: health, every: 1s}"), load(1000));
    }

    #[test]
    fn a_pace_out_of_range_and_a_missing_test_are_told() {
        for every in ["10ms", "1m", "fast", "3"] {
            let why = read(&format!("{{test: health, every: {every}}}")).unwrap_err();
            assert!(why.contains("probe.load.every: found `"), "{why}");
        }
        let why = read("{every: 1s}").unwrap_err();
        assert!(why.contains("probe.load.test: is missing"), "{why}");
    }
}
