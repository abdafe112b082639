//! The table of all Rollouts as plain HTML: no script, refreshed by the browser.
//!
//! Whatever comes from the cluster is escaped. Dark where the reader's system is dark.
//!
//! Not here: one run in detail, buttons.

use std::fmt::Write as _;
use std::sync::Arc;

use super::Entry;

const HEAD: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta http-equiv=\"refresh\" content=\"2\">
<title>Sluice</title>
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.Failed, .RollingBack { color: light-dark(#b3261e, #ff8a80); }
.Stepping, .Promoting, .Preparing { color: light-dark(#1a56b0, #8ab4f8); }
.Held, .AwaitingApproval { color: light-dark(#8a5a00, #fdd663); }
p.none { opacity: .7; }
</style></head><body>
";

/// The page.
pub fn table(environment: &str, entries: &[Arc<Entry>]) -> String {
    let mut html = HEAD.to_owned();
    // Writing to a String cannot fail.
    let _ = writeln!(html, "<h1>Sluice: {}</h1>", escape(environment));
    if entries.is_empty() {
        html.push_str("<p class=\"none\">No Rollout is known.</p>\n");
    } else {
        html.push_str("<table><thead><tr><th>Rollout<th>Phase<th>Weight<th>Step<th>Verdict<th>Why</tr></thead><tbody>\n");
        for entry in entries {
            row(&mut html, entry);
        }
        html.push_str("</tbody></table>\n");
    }
    html.push_str("</body></html>\n");
    html
}

fn row(html: &mut String, entry: &Entry) {
    let run = entry.run.as_ref();
    let weight = run.map_or(String::new(), |run| format!("{}%", run.weight));
    let step = run.and_then(|run| run.step.clone()).unwrap_or_default();
    let verdict = run.map_or("", |run| run.verdict.as_str());
    let phase = escape(&entry.phase);
    let _ = writeln!(
        html,
        "<tr><td><a href=\"/api/rollouts/{0}/{1}\">{0}/{1}</a><td class=\"{phase}\">{phase}<td class=\"number\">{2}<td>{3}<td>{4}<td>{5}</tr>",
        escape(&entry.namespace),
        escape(&entry.name),
        escape(&weight),
        escape(&step),
        escape(verdict),
        escape(&entry.message),
    );
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_the_cluster_is_escaped() {
        assert_eq!(
            escape("<a href='x'>\"&\""),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;"
        );
    }

    #[test]
    fn an_empty_board_says_so() {
        assert!(
            table("<e>", &[]).contains("<h1>Sluice: &lt;e&gt;</h1>\n<p class=\"none\">No Rollout")
        );
    }
}
