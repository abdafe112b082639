//! The smoke tests that a pipeline asks for before a version goes on, made from here.
//!
//! Against the environment where the version is: `{{service}}`, `{{environment}}`, `{{namespace}}` and
//! `{{version}}` are filled in. A test that cannot be made has not passed. Not here: the tests themselves
//! (`crate::smoke`), and whether they are enough (`crate::environments::gates`).

use std::path::Path;

use super::connect::Cluster;
use super::{Error, Global, way};
use crate::clock::Clock;
use crate::environments::pipeline::Environment;
use crate::environments::{Pipeline, Service, Smoked, Version};
use crate::rollout::smoke::{Test, Words};
use crate::smoke::{Asker, file, make};

/// Makes the tests of these names, one after the other, to the end.
pub async fn tried(
    global: &Global,
    pipeline: &Pipeline,
    (at, service, version): (&Environment, &Service, &Version),
    names: &[String],
) -> Result<Vec<Smoked>, Error> {
    let mut known = Vec::new();
    for path in &pipeline.smoke {
        known.extend(read(path)?);
    }
    let cluster = Cluster::connect(&way::there(global, at)).await?;
    let clock = Clock::machine();
    let asker = Asker::network(clock);
    let words = Words::from([
        ("service", service.name.clone()),
        ("environment", at.name.clone()),
        ("namespace", cluster.namespace.clone()),
        ("version", version.tag.clone().unwrap_or_default()),
    ]);
    let mut all = Vec::new();
    for name in names {
        let Some(test) = known.iter().find(|test: &&Test| test.name == *name) else {
            let known: Vec<&str> = known.iter().map(|test| test.name.as_str()).collect();
            let known = known.join(", ");
            let text = format!("there is no smoke test {name:?}; known: {known}");
            return Err(Error::Usage(text));
        };
        let made = make(test, &words, (&asker, &cluster.client), clock).await;
        let (passed, told) = match made {
            Ok(report) => (report.passed, report.to_string()),
            Err(why) => (false, format!("{name} cannot be made: {why}")),
        };
        all.push(Smoked {
            test: name.clone(),
            passed,
            told,
        });
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<Test>, Error> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::Usage(format!("cannot read {name}: {error}")))?;
    file::read(&name, &text).map_err(|problems| Error::Usage(problems.join("\n")))
}
