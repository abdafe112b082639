//! The smoke tests in force: read from folders, read again when the files change. A mistake keeps
//! the last good ones, as with rules.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::clock::Clock;
use crate::daemon::rules;
use crate::rollout::smoke::Test;
use crate::smoke::file;

/// Time between two looks at the files.
const EVERY: Duration = Duration::from_secs(5);

/// Tests by name.
pub type Tests = BTreeMap<String, Arc<Test>>;

/// The tests in force. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct InForce(Arc<RwLock<Arc<Tests>>>);

impl InForce {
    /// Those of these folders, or everything that is wrong with them.
    pub fn load(folders: &[PathBuf]) -> Result<Self, Vec<String>> {
        let tests = parse(&rules::read(folders))?;
        Ok(Self(Arc::new(RwLock::new(Arc::new(tests)))))
    }

    /// These.
    #[cfg(test)]
    pub fn of(tests: Vec<Test>) -> Self {
        let named = tests
            .into_iter()
            .map(|test| (test.name.clone(), Arc::new(test)));
        Self(Arc::new(RwLock::new(Arc::new(named.collect()))))
    }

    /// All of them, now.
    pub fn now(&self) -> Arc<Tests> {
        let tests = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tests.clone()
    }

    /// Looks at the folders for ever.
    pub async fn keep_up(self, folders: Vec<PathBuf>, clock: Clock) {
        let mut before = rules::read(&folders);
        loop {
            clock.sleep(EVERY).await;
            let texts = rules::read(&folders);
            if texts == before {
                continue;
            }
            match parse(&texts) {
                Ok(tests) => {
                    tracing::info!(tests = tests.len(), "smoke tests were reloaded");
                    let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
                    *now = Arc::new(tests);
                }
                Err(problems) => {
                    for problem in problems {
                        tracing::error!(
                            problem,
                            "smoke tests were refused; the last good ones stay in force"
                        );
                    }
                }
            }
            before = texts;
        }
    }
}

fn parse(texts: &BTreeMap<String, Result<String, String>>) -> Result<Tests, Vec<String>> {
    let mut tests = Tests::new();
    let mut problems = Vec::new();
    for (file, text) in texts {
        let read = text
            .as_ref()
            .map_err(|why| vec![format!("{file}: {why}")])
            .and_then(|text| file::read(file, text));
        match read {
            Ok(read) => {
                for test in read {
                    let name = test.name.clone();
                    if tests.insert(name.clone(), Arc::new(test)).is_some() {
                        problems.push(format!(
                            "{file}: {name}: found twice, wanted one of each name"
                        ));
                    }
                }
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        Ok(tests)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tests_of_one_name_are_refused() {
        let text = "- {name: a, tcp: {address: 'a:1'}}\n";
        let texts = |files: &[&str]| {
            let file = |name: &&str| ((*name).to_owned(), Ok(text.to_owned()));
            parse(&files.iter().map(file).collect())
        };
        assert_eq!(texts(&["one.yaml"]).unwrap().len(), 1);
        let problems = texts(&["one.yaml", "two.yaml"]).unwrap_err();
        assert_eq!(
            problems,
            ["two.yaml: a: found twice, wanted one of each name"]
        );
    }
}
