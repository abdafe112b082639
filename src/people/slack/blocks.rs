//! A message as Slack's blocks: <https://docs.slack.dev/reference/block-kit/blocks>.
//!
//! Guarantees: what comes from elsewhere is escaped, so that nobody is mentioned and no link is made by an
//! image's name; no text is longer than Slack takes.
//!
//! Not here: what a message says (`people::message`).

use serde_json::{Value, json};

use crate::people::message::{Can, Finding, Message, Stage};

/// What a text of a block may have at most, in characters: Slack takes 3000.
const TEXT: usize = 2900;
/// What an action's id begins with.
pub const ACTION: &str = "sluice-";

/// Text in which nothing is markup.
pub fn escaped(text: &str) -> String {
    let cut: String = text.chars().take(TEXT).collect();
    let safe = cut
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    safe.chars().take(TEXT).collect()
}

/// The message; with buttons where clicks are taken.
pub fn blocks(message: &Message, buttons: bool) -> Vec<Value> {
    let mut all = vec![section(&format!(
        "{} *{}*\n{}",
        sign(message.stage),
        escaped(&message.headline()),
        escaped(&message.why)
    ))];
    if !message.findings.is_empty() {
        let lines: Vec<String> = message.findings.iter().map(finding).collect();
        all.push(section(&lines.join("\n")));
    }
    if let Some(remedy) = &message.remedy {
        let url = remedy
            .url
            .as_ref()
            .map_or_else(String::new, |url| format!(" {}", escaped(url)));
        all.push(section(&format!(
            "In Git: {}{url}",
            escaped(&remedy.message)
        )));
    }
    all.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": cut(&context(message))}]}));
    if buttons && !message.can.is_empty() {
        let elements: Vec<Value> = message.can.iter().map(|can| button(message, can)).collect();
        all.push(json!({"type": "actions", "elements": elements}));
    } else if !message.can.is_empty() {
        let commands: Vec<String> = message
            .can
            .iter()
            .map(|can| format!("`{}`", escaped(&can.command)))
            .collect();
        let text = cut(&commands.join("   "));
        all.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}));
    }
    all
}

fn sign(stage: Stage) -> &'static str {
    match stage {
        Stage::Began | Stage::Stepping => ":arrow_forward:",
        Stage::Suspect | Stage::Held => ":warning:",
        Stage::ApprovalAwaited => ":raised_hand:",
        Stage::Promoting | Stage::Baking => ":fast_forward:",
        Stage::RollingBack | Stage::RolledBack => ":rewind:",
        Stage::Promoted => ":white_check_mark:",
        Stage::Superseded | Stage::Cancelled => ":black_square_for_stop:",
    }
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": cut(text)}})
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

fn finding(finding: &Finding) -> String {
    let arm = |(bad, total): (f64, f64)| format!("{bad:.0} of {total:.0}");
    format!(
        "*{}* {}: {}\n    canary {} bad, stable {} bad; evidence {:.1}, bound {:.1}",
        escaped(&finding.rule),
        escaped(&finding.verdict),
        escaped(&finding.sentence),
        arm(finding.canary),
        arm(finding.stable),
        finding.evidence,
        finding.bound,
    )
}

fn context(message: &Message) -> String {
    let mut parts = vec![
        escaped(&message.environment),
        format!("run {}", escaped(&message.run)),
    ];
    parts.extend(
        message
            .step
            .as_ref()
            .map(|step| format!("step {}", escaped(step))),
    );
    parts.extend(
        message
            .commit
            .as_ref()
            .map(|commit| format!("commit `{}`", escaped(commit))),
    );
    parts.extend(message.next.as_ref().map(|next| escaped(next)));
    parts.extend(
        message
            .link
            .as_ref()
            .map(|link| format!("<{}|page>", escaped(link))),
    );
    parts.join(" · ")
}

fn button(message: &Message, can: &Can) -> Value {
    let label = label(can.act);
    let subject = message.subject();
    let value = json!({
        "namespace": message.namespace, "name": message.name, "act": can.act, "revision": message.revision.hash,
    });
    let question = format!("{label} {} of {}?", message.version(), subject);
    let question: String = question.chars().take(290).collect();
    let mut button = json!({
        "type": "button",
        "action_id": format!("{ACTION}{}", can.act),
        "text": {"type": "plain_text", "text": label},
        "value": value.to_string(),
        "confirm": {
            "title": {"type": "plain_text", "text": "Sluice"},
            "text": {"type": "plain_text", "text": question},
            "confirm": {"type": "plain_text", "text": label},
            "deny": {"type": "plain_text", "text": "No"},
        },
    });
    match can.act {
        "approve" | "promote" => button["style"] = json!("primary"),
        "rollback" => button["style"] = json!("danger"),
        _ => {}
    }
    button
}

fn label(act: &str) -> &str {
    match act {
        "approve" => "Approve",
        "promote" => "Promote",
        "hold" => "Hold",
        "resume" => "Resume",
        "rollback" => "Roll back",
        "retry" => "Try again",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::message::samples::message;

    #[test]
    fn a_message_has_the_numbers_and_the_buttons_with_a_question() {
        let blocks = blocks(&message("Suspect"), true);
        let numbers = blocks[1]["text"]["text"].as_str().unwrap();
        assert_eq!(
            numbers,
            "*error-rate* Suspect: 4.9% &lt;of&gt; 1000 against 0.1%\n    canary 49 of 1000 bad, stable 12 of 12000 bad; evidence 3.1, bound 5.3"
        );
        let buttons = blocks.last().unwrap()["elements"].as_array().unwrap();
        let ids: Vec<_> = buttons
            .iter()
            .map(|button| button["action_id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["sluice-promote", "sluice-hold", "sluice-rollback"]);
        assert_eq!(
            buttons[2]["confirm"]["text"]["text"],
            "Roll back v1.4.2 of shop/backend?"
        );
        let value: Value = serde_json::from_str(buttons[2]["value"].as_str().unwrap()).unwrap();
        assert_eq!(
            value,
            json!({"namespace": "shop", "name": "backend", "act": "rollback", "revision": "91bc03aa17"})
        );
    }

    #[test]
    fn where_no_click_is_taken_the_commands_are_named() {
        let blocks = blocks(&message("AwaitingApproval"), false);
        let text = blocks.last().unwrap()["elements"][0]["text"]
            .as_str()
            .unwrap();
        assert!(
            text.starts_with("`sluice approve backend --namespace shop`"),
            "{text}"
        );
    }

    #[test]
    fn nothing_from_elsewhere_is_markup_or_too_long() {
        let mut told = message("Held");
        told.why = "<!channel> & ".repeat(1000);
        let blocks = blocks(&told, true);
        let text = blocks[0]["text"]["text"].as_str().unwrap();
        assert!(!text.contains("<!") && text.chars().count() <= 3000);
    }
}
