//! A message as Slack's blocks: <https://docs.slack.dev/reference/block-kit/blocks>.
//!
//! Guarantees: what comes from elsewhere is escaped, so that nobody is mentioned and no link is made by an
//! image's name; no text is longer than Slack takes.
//!
//! Not here: what a message says (`people::message`).

use serde_json::{Value, json};

use crate::people::message::{Finding, Message, Stage};

/// What a text of a block may have at most, in characters: Slack takes 3000.
const TEXT: usize = 2900;

/// Text in which nothing is markup.
pub fn escaped(text: &str) -> String {
    let cut: String = text.chars().take(TEXT).collect();
    let safe = cut
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    safe.chars().take(TEXT).collect()
}

/// The message, with the commands for what a person can do.
pub fn blocks(message: &Message) -> Vec<Value> {
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
    if !message.can.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::message::samples::message;

    #[test]
    fn a_message_has_the_numbers() {
        let blocks = blocks(&message("Suspect"));
        let numbers = blocks[1]["text"]["text"].as_str().unwrap();
        assert_eq!(
            numbers,
            "*error-rate* Suspect: 4.9% &lt;of&gt; 1000 against 0.1%\n    canary 49 of 1000 bad, stable 12 of 12000 bad; evidence 3.1, bound 5.3"
        );
    }

    #[test]
    fn what_a_person_can_do_is_named() {
        let blocks = blocks(&message("AwaitingApproval"));
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
        let blocks = blocks(&told);
        let text = blocks[0]["text"]["text"].as_str().unwrap();
        assert!(!text.contains("<!") && text.chars().count() <= 3000);
    }
}
