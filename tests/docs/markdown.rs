//! Markdown as far as these tests read it: links and headings; fenced blocks are in `blocks`.
//!
//! Links are checked here, with their anchors. Not here: what a block says (`commands`,
//! `snippets`).

use std::path::Path;

use regex::Regex;

use super::{documents, none, root, text};

/// The document without its fenced blocks.
fn prose(document: &str) -> String {
    let fence = Regex::new(r"(?ms)^\s*```.*?^\s*```\s*$").unwrap();
    fence.replace_all(document, "").into_owned()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(document: &str) -> Vec<String> {
    let heading = Regex::new(r"(?m)^#+ +(.+?) *$").unwrap();
    let prose = prose(document);
    let slug = |title: &str| -> String {
        let title = title.to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    heading
        .captures_iter(&prose)
        .map(|found| slug(&found[1]))
        .collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut problems = Vec::new();
    for (name, document) in documents() {
        for found in link.captures_iter(&prose(&document)) {
            let target = &found[1];
            if target.starts_with("http") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(&name).parent().unwrap();
            let path = match file {
                "" => Path::new(&name).to_owned(),
                file => folder.join(file),
            };
            if !root().join(&path).exists() {
                problems.push(format!("{name}: {target}: no such file"));
            } else if !anchor.is_empty() && !anchors(&text(&path)).contains(&anchor.to_owned()) {
                problems.push(format!("{name}: {target}: no such heading"));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_document_is_linked_from_the_readme_or_its_links() {
    let link = Regex::new(r"\]\(([^)#\s]+)").unwrap();
    let mut known = vec![root().join("README.md")];
    let mut next = 0;
    while let Some(path) = known.get(next).cloned() {
        next += 1;
        let document = text(&path);
        for found in link.captures_iter(&document) {
            let target = path.parent().unwrap().join(&found[1]);
            if let Ok(target) = target.canonicalize()
                && target.extension().is_some_and(|found| found == "md")
                && !known.contains(&target)
            {
                known.push(target);
            }
        }
    }
    let lost: Vec<String> = documents()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !known.contains(&root().join(name).canonicalize().unwrap()))
        .collect();
    none(&lost);
}
