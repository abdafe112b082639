//! Messages to Microsoft Teams: an Adaptive Card to the webhook of a workflow.
//!
//! <https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>:
//! a message with one attachment. Such a webhook cannot change what was said, so only the turns of a run are
//! said. Its URL lets anybody post: it lies in a file.
//!
//! Not here: what a message says (`message`).

use std::path::PathBuf;

use serde_json::{Value, json};

use super::message::{Finding, Message, Stage};

/// What one text has at most, in characters: a card may have 28 KB.
const TEXT: usize = 2000;

/// A workflow's webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Teams {
    /// A file with its URL, read again each time.
    pub url_file: PathBuf,
}

/// Whether a run's message is a turn that is worth one of its own.
pub fn wants(stage: Stage) -> bool {
    !matches!(
        stage,
        Stage::Stepping | Stage::Promoting | Stage::RollingBack
    )
}

/// The card of a run's message.
pub fn card(message: &Message) -> Value {
    let mut body = vec![
        title(&message.headline(), colour(message.stage)),
        text(&message.why),
    ];
    body.extend(message.findings.iter().map(|finding| text(&line(finding))));
    if let Some(remedy) = &message.remedy {
        body.push(text(&format!("In Git: {}", remedy.message)));
    }
    let mut facts = vec![
        fact("Environment", &message.environment),
        fact("Run", &message.run),
    ];
    facts.extend(message.change().map(|change| fact("Change", &change)));
    facts.extend(message.can.iter().map(|can| fact("You can", &can.command)));
    body.push(json!({"type": "FactSet", "facts": facts}));
    let remedy = message
        .remedy
        .as_ref()
        .and_then(|remedy| remedy.url.as_ref());
    let links = [("Page", message.link.as_ref()), ("Pull request", remedy)];
    let links = links.into_iter().filter_map(|(title, url)| {
        Some(json!({"type": "Action.OpenUrl", "title": title, "url": url?}))
    });
    attached(body, links.collect())
}

/// A card with one line.
pub fn note(line: &str) -> Value {
    attached(vec![title(line, "Attention")], Vec::new())
}

fn attached(body: Vec<Value>, actions: Vec<Value>) -> Value {
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
                "actions": actions,
            },
        }],
    })
}

fn title(line: &str, colour: &str) -> Value {
    json!({"type": "TextBlock", "weight": "Bolder", "color": colour, "wrap": true, "text": plain(line)})
}

fn text(line: &str) -> Value {
    json!({"type": "TextBlock", "wrap": true, "text": plain(line)})
}

fn fact(title: &str, value: &str) -> Value {
    json!({"title": title, "value": plain(value)})
}

/// Text in which nothing is Markdown.
fn plain(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars().take(TEXT) {
        if "\\`*_[]<>#".contains(c) {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

fn line(finding: &Finding) -> String {
    let ((bad, total), (stable_bad, stable_total)) = (finding.canary, finding.stable);
    format!(
        "{} {}: {} (canary {bad:.0} of {total:.0} bad, stable {stable_bad:.0} of {stable_total:.0} bad; evidence {:.1}, bound {:.1})",
        finding.rule, finding.verdict, finding.sentence, finding.evidence, finding.bound
    )
}

fn colour(stage: Stage) -> &'static str {
    match stage {
        Stage::Promoted | Stage::Baking => "Good",
        Stage::RolledBack | Stage::RollingBack => "Attention",
        Stage::Suspect | Stage::Held | Stage::ApprovalAwaited => "Warning",
        Stage::Began
        | Stage::Stepping
        | Stage::Promoting
        | Stage::Superseded
        | Stage::Cancelled => "Default",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::message::samples::message;

    #[test]
    fn a_card_has_the_numbers_and_no_markup_from_elsewhere() {
        let card = card(&message("Suspect"));
        let attached = &card["attachments"][0];
        assert_eq!(
            attached["contentType"],
            "application/vnd.microsoft.card.adaptive"
        );
        let body = &attached["content"]["body"];
        assert_eq!(body[0]["text"], "shop/backend: v1.4.2 is suspected at 5%");
        assert_eq!(
            body[2]["text"],
            "error-rate Suspect: 4.9% \\<of\\> 1000 against 0.1% (canary 49 of 1000 bad, stable 12 of 12000 bad; evidence 3.1, bound 5.3)"
        );
        assert_eq!(
            attached["content"]["actions"][0]["url"],
            "https://sluice.example/rollouts/shop/backend"
        );
    }

    #[test]
    fn only_the_turns_of_a_run_are_worth_a_card() {
        assert!(
            wants(Stage::RolledBack) && wants(Stage::ApprovalAwaited) && !wants(Stage::Stepping)
        );
    }
}
