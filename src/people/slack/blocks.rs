//! A message as Slack's blocks: <https://docs.slack.dev/reference/block-kit/blocks>.
//!
//! Guarantees: what comes from elsewhere is escaped, so that nobody is mentioned and no link is made by an
//! image's name; no text is longer than Slack takes.
//!
//! Not here: what a message says (`people::message`).

use serde_json::{Value, json};

use super::asked::{ACTION, Aim};
use crate::people::message::{Finding, Message, Stage};
use crate::rollout::request::Act;

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

/// The message, with what a person can do now: as buttons, or as commands.
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
        let buttons: Vec<Value> = message
            .can
            .iter()
            .map(|can| button(message, can.act))
            .collect();
        all.push(json!({"type": "actions", "block_id": "sluice", "elements": buttons}));
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

/// An act as a button that is asked back. Its value names the revision, so that it cannot hit another one.
fn button(message: &Message, act: Act) -> Value {
    let (name, about) = named(act, message.stage);
    let aim = Aim {
        environment: message.environment.clone(),
        namespace: message.namespace.clone(),
        name: message.name.clone(),
        revision: message.revision.hash.clone(),
    };
    let plain = |text: &str, most: usize| {
        let text: String = text.chars().take(most).collect();
        json!({"type": "plain_text", "text": text})
    };
    let asked = format!("{about} {}: {}.", message.subject(), message.version());
    let mut button = json!({
        "type": "button", "action_id": format!("{ACTION}{act}"), "text": plain(name, 75), "value": json!(aim).to_string(),
        "confirm": {
            "title": plain(&format!("{name}?"), 100), "text": plain(&asked, 300),
            "confirm": plain(name, 30), "deny": plain("Not now", 30),
        },
    });
    let style = match act {
        Act::Approve => Some("primary"),
        Act::Rollback | Act::Abort => Some("danger"),
        Act::Promote
        | Act::Hold
        | Act::Resume
        | Act::Retry
        | Act::Restart
        | Act::Alert
        | Act::Smoke => None,
    };
    if let Some(style) = style {
        button["style"] = json!(style);
        button["confirm"]["style"] = json!(style);
    }
    button
}

/// An act's name, and what it does.
fn named(act: Act, stage: Stage) -> (&'static str, &'static str) {
    match act {
        Act::Approve => ("Approve", "Lets the step pass that waits for a person."),
        Act::Promote if stage == Stage::Baking => ("End the watch", "Ends the watch now."),
        Act::Promote => (
            "Promote",
            "Brings the revision through now, whatever the evidence says.",
        ),
        Act::Hold => ("Hold", "Keeps the weight until somebody resumes the run."),
        Act::Resume => ("Resume", "Lets the run go on."),
        Act::Retry => ("Retry", "Tries the revision again that failed."),
        Act::Restart => ("Restart", "Restarts the pods natively."),
        Act::Abort | Act::Rollback | Act::Alert | Act::Smoke => (
            "Roll back",
            "Ends the run: weight 0, the canary is removed, the template is put back.",
        ),
    }
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
            .change()
            .map(|change| format!("change {}", escaped(&change))),
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
        let blocks = blocks(&message("Suspect"), false);
        let numbers = blocks[1]["text"]["text"].as_str().unwrap();
        assert_eq!(
            numbers,
            "*error-rate* Suspect: 4.9% &lt;of&gt; 1000 against 0.1%\n    canary 49 of 1000 bad, stable 12 of 12000 bad; evidence 3.1, bound 5.3"
        );
    }

    #[test]
    fn what_a_person_can_do_is_named() {
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
    fn what_is_possible_now_has_a_button_that_is_asked_back() {
        let names = |phase: &str| {
            let blocks = blocks(&message(phase), true);
            let all = blocks.last().unwrap()["elements"]
                .as_array()
                .unwrap()
                .clone();
            let named = all.iter().map(|button| {
                assert_eq!(button["confirm"]["confirm"], button["text"]);
                assert!(button["value"].as_str().unwrap().len() < 2000);
                button["text"]["text"].as_str().unwrap().to_owned()
            });
            named.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(names("Stepping"), "Promote, Hold, Roll back");
        assert_eq!(
            names("AwaitingApproval"),
            "Approve, Promote, Hold, Roll back"
        );
        assert_eq!(names("Held"), "Resume, Promote, Roll back");
        assert_eq!(names("Baking"), "End the watch, Roll back");
        let ends = blocks(&message("RollingBack"), true);
        assert!(ends.iter().all(|block| block["type"] != "actions"));
        let blocks = blocks(&message("Stepping"), true);
        let last = &blocks.last().unwrap()["elements"][2];
        assert_eq!(last["action_id"], "sluice-rollback");
        let aim = r#"{"e":"production","h":"91bc03aa17","n":"shop","r":"backend"}"#;
        assert_eq!(
            (&last["value"], &last["style"]),
            (&json!(aim), &json!("danger"))
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
