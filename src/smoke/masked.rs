//! Texts of strangers (answers, logs) without what looks like a secret in them, before they are told on.

use std::sync::LazyLock;

use regex::Regex;

/// What looks like a secret by its name, its form or its place in a URL is not told on.
pub fn masked(text: &str) -> String {
    static SECRETS: LazyLock<Option<[Regex; 3]>> = LazyLock::new(|| {
        let compiled = |text: &str| Regex::new(text).ok();
        Some([
            compiled(
                r#"(?i)((?:pass(?:word|wd)?|secret|token|api[-_]?key|authorization|credentials?)["']?\s*[=:]\s*["']?(?:bearer\s+|basic\s+)?)[^\s"',;&]+"#,
            )?,
            compiled(r"(?i)(\w://[^\s/:@]*:)[^\s/@]+(?:@)")?,
            compiled(r"()\beyJ[\w-]+\.[\w-]+\.[\w-]*")?,
        ])
    });
    // Without its patterns nothing is told at all.
    let Some([named, urls, tokens]) = &*SECRETS else {
        return "…".to_owned();
    };
    let text = named.replace_all(text, "${1}***");
    let text = urls.replace_all(&text, "${1}***@");
    tokens.replace_all(&text, "${1}***").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked() {
        let cases = [
            ("password=hunter2 user=a", "password=*** user=a"),
            (
                r#"{"api_key": "abc", "x": 1}"#,
                r#"{"api_key": "***", "x": 1}"#,
            ),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            ("postgres://shop:s3cret@db/x", "postgres://shop:***@db/x"),
            ("jwt eyJhbGci.eyJzdWIi.c2ln end", "jwt *** end"),
            ("nothing to hide", "nothing to hide"),
        ];
        for (text, wanted) in cases {
            assert_eq!(masked(text), wanted);
        }
    }
}
