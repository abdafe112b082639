//! Paths of an Ingress: how a route asks for one, what it makes of it for the pods, and which no route can have.
//!
//! ingress-nginx' rewrite is nginx' own: the path is an expression, `$N` is what its group caught and nothing where there
//! is no group, and a target that equals the path is no rewrite. Where one path of a host is rewritten, all are expressions.
//!
//! Not here: hosts and backends (`route`), and which annotations there are (`annotations`).
//!
//! Sources: ingress-nginx' template of a location, nginx' documentation of `rewrite`, the checks of Gateway API v1.

use std::collections::BTreeSet;

use kube::ResourceExt;
use serde_json::{Value, json};

use super::Given;
use super::annotations::Shape;
use super::ingress::{self, Asked, Path, PathType};

/// What paths that catch the rest end with, and the group that catches it.
const ENDS: [(&str, u32); 4] = [("(/|$)(.*)", 2), ("/?(.*)", 1), ("/(.*)", 1), ("(.*)", 1)];
/// What makes a path an expression. A dot does not: most are meant as dots.
const EXPRESSION: [char; 10] = ['(', '[', '*', '?', '+', '|', '\\', '$', '^', '{'];
/// What no path of an `HTTPRoute` has in it, and what none ends with.
const NEVER: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "#"];
const NEVER_LAST: [&str; 2] = ["/..", "/."];
/// The annotation of rewrites, as `--without` names it.
const REWRITE: &str = "rewrite-target";

/// The paths of one Ingress.
pub struct Paths<'a> {
    shape: &'a Shape,
    name: String,
    asked: BTreeSet<Asked>,
    /// Whether rewrites that no route can say may go.
    without: bool,
}

/// What becomes of a path on its way to the pods.
enum Rewritten<'p> {
    Not,
    /// All of it is this.
    Whole(String),
    Prefix(Caught<'p>),
    /// Something that no route can say.
    Unsaid,
}

/// A path that catches what follows, whose rewrite keeps that.
struct Caught<'p> {
    /// What stands before.
    stem: &'p str,
    /// The expression that catches.
    end: &'static str,
    /// What comes in the stem's place.
    to: &'p str,
}

/// Whether ingress-nginx makes all paths of a host expressions for an Ingress with these.
pub fn makes_expressions<'a>(shape: &Shape, mut texts: impl Iterator<Item = &'a str>) -> bool {
    let target = shape.rewrite.as_deref();
    shape.regex || target.is_some_and(|target| texts.any(|text| text != target))
}

impl<'a> Paths<'a> {
    pub fn new(given: &Given, shape: &'a Shape) -> Self {
        Self {
            shape,
            name: given.ingress.name_any(),
            asked: ingress::asked(&given.ingress),
            without: given.without.iter().any(|name| name == REWRITE),
        }
    }

    /// Paths that no route may have, and rewrites that no route can say. Without these requests would reach paths of the
    /// pods that nobody can reach now, so whoever wants that says so, as of the annotations that keep requests out.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for asked in &self.asked {
            let (name, text) = (&self.name, &asked.text);
            if let Some(part) = self.not_allowed(asked) {
                faults.push(format!(
                    "Ingress {name}: path {text}: no path of an HTTPRoute may have {part}: write another path into the Ingress \
                     first, or take it out"
                ));
            }
            if !self.without && self.shape.redirect.is_none() && self.is_unsaid(asked) {
                let target = self.target();
                faults.push(format!(
                    "Ingress {name}: path {text} with {REWRITE} {target}: {}; unrewritten the pods would be asked paths that they \
                     are not asked now: write another path or rewrite into the Ingress first, or say --without {REWRITE}",
                    why_not(target, text)
                ));
            }
        }
        faults
    }

    /// Where a route takes other requests than the Ingress, or makes other ones of them.
    pub fn say(&self, notes: &mut Vec<String>) {
        for asked in &self.asked {
            let told = match self.rewritten(asked) {
                Rewritten::Prefix(caught) => self.of_prefix(&caught),
                Rewritten::Unsaid if self.shape.redirect.is_none() => {
                    let target = self.target();
                    notes.push(format!(
                        "OPEN: Ingress {}: path {}: {REWRITE}: {target}: the routes do not rewrite it, so the pods are asked paths \
                         that they were not",
                        self.name, asked.text
                    ));
                    self.of_text(asked)
                }
                Rewritten::Whole(to) if self.target().contains('$') => {
                    let mut told = self.of_text(asked);
                    told.push(format!(
                        "it has no group for {} to mean, so the pods are asked {to} for whatever it takes, as by ingress-nginx",
                        self.target()
                    ));
                    told
                }
                _ => self.of_text(asked),
            };
            let told = told.into_iter();
            notes.extend(
                told.map(|text| format!("Ingress {}: path {}: {text}", self.name, asked.text)),
            );
        }
    }

    /// The paths in the order in which they are asked: of expressions the longest first.
    pub fn ordered<'p>(&self, paths: &'p [Path]) -> Vec<&'p Path> {
        let mut all: Vec<&Path> = paths.iter().collect();
        if all.iter().any(|path| self.is_expression(&path.asked)) {
            all.sort_by_key(|path| std::cmp::Reverse(path.asked.text.len()));
        }
        all
    }

    /// How a rule asks for a path.
    pub fn matcher(&self, asked: &Asked) -> Value {
        let value = asked.text.as_str();
        if let Rewritten::Prefix(caught) = self.rewritten(asked) {
            return json!({"type": "PathPrefix", "value": caught.stem});
        }
        if self.is_expression(asked) {
            // Some Gateways ask whether all of the path is like it, some whether any part is.
            let open = value.trim_end_matches('$');
            let end = if open.len() == value.len() { ".*" } else { "$" };
            return json!({"type": "RegularExpression", "value": format!("(?i)^{open}{end}")});
        }
        let kind = if asked.kind == PathType::Exact {
            "Exact"
        } else {
            "PathPrefix"
        };
        json!({"type": kind, "value": value})
    }

    /// What a rule does to the requests of a path.
    pub fn filters(&self, asked: &Asked) -> Vec<Value> {
        if let Some(redirect) = &self.shape.redirect {
            return vec![redirect.clone()];
        }
        let mut rewrite = json!({});
        if let Some(host) = &self.shape.host {
            rewrite["hostname"] = host.as_str().into();
        }
        match self.rewritten(asked) {
            Rewritten::Not | Rewritten::Unsaid => {}
            Rewritten::Whole(to) => {
                rewrite["path"] = json!({"type": "ReplaceFullPath", "replaceFullPath": to});
            }
            Rewritten::Prefix(Caught { to, .. }) => {
                let to = if to.is_empty() { "/" } else { to };
                rewrite["path"] = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to});
            }
        }
        if rewrite == json!({}) {
            return Vec::new();
        }
        vec![json!({"type": "URLRewrite", "urlRewrite": rewrite})]
    }

    fn target(&self) -> &str {
        self.shape.rewrite.as_deref().unwrap_or_default()
    }

    fn is_unsaid(&self, asked: &Asked) -> bool {
        matches!(self.rewritten(asked), Rewritten::Unsaid)
    }

    fn rewritten<'p>(&'p self, asked: &'p Asked) -> Rewritten<'p> {
        let target = self.shape.rewrite.as_deref();
        let Some(target) = target.filter(|target| *target != asked.text) else {
            return Rewritten::Not;
        };
        let whole = if asked.text.contains('(') {
            Some(target.to_owned()).filter(|target| !target.contains('$'))
        } else {
            without_groups(target)
        };
        if let Some(to) = whole.filter(|to| is_path(to)) {
            return Rewritten::Whole(to);
        }
        caught(target, &asked.text).map_or(Rewritten::Unsaid, Rewritten::Prefix)
    }

    /// Whether a path is asked as an expression: as said, or since a rewrite makes it one.
    fn is_expression(&self, asked: &Asked) -> bool {
        let looks = asked.text.contains(EXPRESSION);
        self.shape.regex && asked.kind != PathType::Exact || looks && self.all_are_expressions()
    }

    fn all_are_expressions(&self) -> bool {
        makes_expressions(self.shape, self.asked.iter().map(|one| one.text.as_str()))
    }

    /// What a route's path may not have, as the Gateway API checks it.
    fn not_allowed(&self, asked: &Asked) -> Option<String> {
        match self.rewritten(asked) {
            Rewritten::Prefix(caught) => not_allowed(caught.stem),
            _ if self.is_expression(asked) => None,
            _ => not_allowed(&asked.text),
        }
    }

    /// Where a route takes less than ingress-nginx, which takes what begins like an expression.
    fn of_text(&self, asked: &Asked) -> Vec<String> {
        let exact = asked.kind == PathType::Exact;
        let why = if asked.kind == PathType::Text {
            "it is ImplementationSpecific"
        } else if matches!(self.rewritten(asked), Rewritten::Whole(_)) {
            "it is rewritten"
        } else if self.all_are_expressions() {
            "it is an expression, as all paths beside use-regex or a rewrite"
        } else {
            return Vec::new();
        };
        if self.is_expression(asked) || asked.text == "/" && !exact {
            return Vec::new();
        }
        let takes = if exact {
            "Exact only itself"
        } else {
            "PathPrefix only what lies below it"
        };
        let text = &asked.text;
        vec![format!(
            "{why}: ingress-nginx takes every path that begins with it ({text}x too), {takes}"
        )]
    }

    /// Where a prefix takes other paths than the expression took.
    fn of_prefix(&self, Caught { stem, end, to }: &Caught<'_>) -> Vec<String> {
        let mut told = Vec::new();
        if stem.contains('.') {
            told.push(format!(
                "a dot is any character to ingress-nginx, PathPrefix takes {stem} alone"
            ));
        }
        if *stem == "/" {
            return told;
        }
        if matches!(*end, "/?(.*)" | "(.*)") {
            told.push(format!(
                "ingress-nginx takes every path that begins with {stem} ({stem}x too), PathPrefix only what lies below it"
            ));
        }
        if *end == "/(.*)" {
            told.push(format!(
                "ingress-nginx does not take {stem} itself, PathPrefix does"
            ));
        }
        if *end == "(.*)" && to.ends_with('/') && self.shape.redirect.is_none() {
            told.push("ingress-nginx sends two slashes where its rewrite and what follows meet, the route one".to_owned());
        }
        told
    }
}

/// The target where no group catches anything; `None` with other variables.
fn without_groups(target: &str) -> Option<String> {
    let mut parts = target.split('$');
    let mut whole = parts.next()?.to_owned();
    for part in parts {
        whole += part.strip_prefix(|c| ('1'..='9').contains(&c))?;
    }
    Some(whole)
}

/// Whether a rewrite to it is one to a path: nginx redirects to URLs, and takes what follows `?` for the query.
fn is_path(to: &str) -> bool {
    to.starts_with('/') && !to.contains('?')
}

/// What stands before the one group that a target ends with, and its number.
fn form(target: &str) -> Option<(&str, u32)> {
    [("$1", 1), ("$2", 2)].into_iter().find_map(|(end, group)| {
        let to = target.strip_suffix(end)?;
        (!to.contains('$')).then_some((to, group))
    })
}

/// How a route says the path and its rewrite, if it can.
fn caught<'p>(target: &'p str, text: &'p str) -> Option<Caught<'p>> {
    let (to, wanted) = form(target)?;
    let (stem, end, group) = ending(text)?;
    // The group of `(.*)` begins with the slash, the others' follow one.
    let joins = to.is_empty() || is_path(to) && (to.ends_with('/') || end == "(.*)");
    let stem = if stem.is_empty() { "/" } else { stem };
    (group == wanted && joins).then_some(Caught { stem, end, to })
}

/// What stands before the end of a path that catches the rest, the end, and the group of the rest.
fn ending(text: &str) -> Option<(&str, &'static str, u32)> {
    let (stem, end, group) = ENDS
        .into_iter()
        .find_map(|(end, group)| Some((text.strip_suffix(end)?, end, group)))?;
    let plain = !stem.contains(EXPRESSION);
    plain.then_some((stem, end, group))
}

fn why_not(target: &str, text: &str) -> String {
    let usual =
        "an HTTPRoute rewrites a prefix, as /prefix(/|$)(.*) with /$2 does, or the whole path";
    match (form(target), ending(text)) {
        _ if target.contains('?') => "the rewrite of an HTTPRoute has no query".to_owned(),
        (Some((_, 1)), Some((_, end, 2))) => {
            format!("$1 is the slash alone, and {end} is caught by $2")
        }
        (Some((_, wanted)), Some((_, end, group))) if wanted != group => {
            format!("there is no ${wanted}, and {end} is caught by ${group}")
        }
        _ => usual.to_owned(),
    }
}

/// The part of a text that no path of an `HTTPRoute` may have.
fn not_allowed(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-/._~!$&'()*+,;=:@%".contains(c);
    let quoted = |part: &str| format!("`{part}`");
    if !text.starts_with('/') {
        return Some("another beginning than `/`".to_owned());
    }
    if let Some(c) = text.chars().find(|c| !is_plain(*c)) {
        return Some(format!("`{c}`"));
    }
    if let Some(part) = NEVER.into_iter().find(|part| text.contains(part)) {
        return Some(quoted(part));
    }
    if let Some(part) = NEVER_LAST.into_iter().find(|part| text.ends_with(part)) {
        return Some(format!("{} at its end", quoted(part)));
    }
    let hex = |part: &&str| {
        let digits = part.get(..2);
        !digits.is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()))
    };
    let broken = text.split('%').skip(1).find(hex)?;
    let shown: String = broken.chars().take(2).collect();
    Some(format!("`%{shown}`, which encodes nothing"))
}
