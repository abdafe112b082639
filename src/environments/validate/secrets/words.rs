//! Which names and which values are secret.
//!
//! A name is taken apart into words (`dbPassword`, `DB_PASSWORD`), and its last ones count: `TOKEN_URL`, `passwordFile`
//! and `secretName` say where a secret is. A value that refers to another place is none: `$(X)`, `${X}`, a path, a URL.

use regex::Regex;

/// What begins a key or a well-known token, or holds a password.
const VALUES: [&str; 12] = [
    r"-----BEGIN [A-Z ]*PRIVATE KEY",
    r"\b(ghp|gho|ghs|ghu|github_pat|glpat)[-_][A-Za-z0-9_-]{16,}",
    r"\bxox[abeprs]-[A-Za-z0-9-]{10,}",
    r"\bhooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16,}",
    r"\bAKIA[A-Z0-9]{16}\b",
    r"\bAIza[A-Za-z0-9_-]{35}\b",
    r"\b[sr]k_live_[A-Za-z0-9]{16,}",
    r"\bnpm_[A-Za-z0-9]{36}\b",
    r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    // The password of a URL, and of a data source as Go's MySQL driver reads it.
    r#"://[^/\s:@"']*:[^/\s:@$(){}<>*%"']+@"#,
    r#"\b[^/\s:@"']+:[^/\s:@$(){}<>*%"']+@(tcp|unix)\("#,
];
/// A line that gives a name a value, in YAML, JSON, properties, ini or environment files.
const LINE: &str = r#"^\s*(?:-\s+|export\s+)?["']?([A-Za-z0-9_.-]+)["']?\s*[:=]\s*(\S.*)$"#;
/// A password in a URL's query, as `jdbc:...?user=a&password=b`.
const QUERY: &str = r#"[?&;](?i:password|pwd)=([^&;\s"']+)"#;
/// What ends the names of files that are configuration, and not code.
const CONFIGURATION: [&str; 10] = [
    "properties",
    "env",
    "ini",
    "conf",
    "cfg",
    "cnf",
    "toml",
    "yaml",
    "yml",
    "json",
];
/// Words before `secret` that make it the name of one.
const NAMES_OF_SECRETS: [&str; 14] = [
    "pull",
    "existing",
    "tls",
    "ssl",
    "image",
    "ca",
    "cert",
    "certificate",
    "name",
    "registry",
    "use",
    "create",
    "from",
    "password",
];
/// Words before `secret` with which a chart means the secret and not its name.
const SECRETS: [&str; 12] = [
    "client", "app", "shared", "webhook", "jwt", "session", "cookie", "signing", "hmac", "oauth",
    "consumer", "api",
];
/// Words before `key` that make it secret.
const KEYS: [&str; 8] = [
    "api",
    "access",
    "secret",
    "private",
    "encryption",
    "signing",
    "auth",
    "master",
];
/// Values that say what a field is, and not its content.
const NO_SECRETS: [&str; 14] = [
    "true",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "null",
    "nil",
    "none",
    "string",
    "required",
    "optional",
    "undefined",
    "~",
];

/// The patterns.
pub struct Words {
    values: Vec<Regex>,
    line: Regex,
    query: Regex,
}

impl Words {
    pub fn new() -> Option<Self> {
        let values: Result<_, _> = VALUES.iter().map(|value| Regex::new(value)).collect();
        Some(Self {
            values: values.ok()?,
            line: Regex::new(LINE).ok()?,
            query: Regex::new(QUERY).ok()?,
        })
    }

    /// Whether a text holds a secret, whatever its name.
    pub fn tells(&self, text: &str) -> bool {
        let by_query = |text: &str| {
            let mut found = self.query.captures_iter(text);
            found.any(|found| may_be(&found[1]))
        };
        !text.starts_with("ENC[") && self.values.iter().any(|value| value.is_match(text))
            || text.contains("://") && by_query(text)
    }

    /// The names to which lines of a file give secrets, if it is configuration.
    pub fn named_lines(&self, file: &str, text: &str) -> Vec<String> {
        let ending = file.rsplit_once('.').map(|(_, ending)| ending);
        let configuration = ending.is_none_or(|ending| CONFIGURATION.contains(&ending));
        if !configuration || !text.contains('\n') && ending.is_none() {
            return Vec::new();
        }
        let lines = text.lines().filter_map(|line| self.line.captures(line));
        let secret = lines.filter(|line| {
            let value = unquoted(line[2].trim().trim_end_matches(','));
            // What calls a function or has several words is code or prose.
            let plain = !value.contains(['(', ' ']);
            plain && Name::of(&line[1]).is_secret_of_a_chart() && may_be(value)
        });
        secret.map(|line| line[1].to_owned()).collect()
    }
}

/// Without its quotes, and what stands behind it.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or_default();
        }
    }
    value.split(" #").next().unwrap_or_default().trim()
}

/// Whether a value may be a secret if its name says so.
pub fn may_be(value: &str) -> bool {
    let value = value.trim();
    let elsewhere = [
        "/", "http://", "https://", "file:", "ref+", "vault:", "|", ">", "&", "*", "{", "[",
    ];
    let word = NO_SECRETS.contains(&value.to_ascii_lowercase().as_str());
    !is_elsewhere(value)
        && !word
        && !is_count(value)
        && !elsewhere.iter().any(|begin| value.starts_with(begin))
}

/// Whether it is a number, and not as long as one that people take for a password.
fn is_count(value: &str) -> bool {
    value.len() < 6 && value.parse::<f64>().is_ok()
}

/// Whether a value is empty, encrypted, or put in by somebody else: `$(X)`, `${X}`, `{{ x }}`, `<x>`.
pub fn is_elsewhere(value: &str) -> bool {
    let value = value.trim();
    let within = |begin: &str, end: &str| value.starts_with(begin) && value.ends_with(end);
    let filled = [
        ("$(", ")"),
        ("${", "}"),
        ("{{", "}}"),
        ("<", ">"),
        ("ENC[", "]"),
    ];
    let default = value.contains(":-") || value.contains(":=");
    value.is_empty()
        || value.starts_with('$') && !value.contains(['(', '{'])
        || value.starts_with("$__")
        || value.starts_with("%(")
        || !default && filled.iter().any(|(begin, end)| within(begin, end))
}

/// A name, as its words.
pub struct Name(Vec<String>);

impl Name {
    pub fn of(name: &str) -> Self {
        let mut words = vec![String::new()];
        let letters: Vec<char> = name.chars().collect();
        for (at, letter) in letters.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|before| letters.get(before));
            let next = letters.get(at + 1);
            let after_small = before.is_some_and(|before| !before.is_uppercase());
            let before_small = next.is_some_and(|next| next.is_lowercase());
            let begins = letter.is_uppercase() && (after_small || before_small);
            if begins || !letter.is_alphanumeric() {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
                word.extend(letter.to_lowercase());
            }
        }
        words.retain(|word| !word.is_empty());
        Self(words)
    }

    /// Whether a variable or an entry of this name holds a secret.
    pub fn is_secret(&self) -> bool {
        let (before, last) = self.last();
        match last {
            "secret" => !NAMES_OF_SECRETS.contains(&before),
            "credential" | "credentials" => true,
            "base" => self
                .0
                .ends_with(&["secret".into(), "key".into(), "base".into()]),
            _ => self.is_password() || last == "key" && KEYS.contains(&before),
        }
    }

    /// The same where names of Secrets and of their keys stand beside: options, values for charts, configurations.
    pub fn is_secret_of_a_chart(&self) -> bool {
        let (before, last) = self.last();
        match last {
            "secret" => SECRETS.contains(&before),
            "key" => before != "secret" && KEYS.contains(&before),
            _ => self.is_password(),
        }
    }

    fn is_password(&self) -> bool {
        let (_, last) = self.last();
        let ends = ["password", "passwd", "passphrase", "apikey", "authtoken"];
        ends.iter().any(|end| last.ends_with(end)) || ["pass", "pwd", "token"].contains(&last)
    }

    fn last(&self) -> (&str, &str) {
        let mut words = self.0.iter().rev().map(String::as_str);
        let last = words.next().unwrap_or_default();
        (words.next().unwrap_or_default(), last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_hold_secrets_and_names_that_say_where_one_is() {
        let secret = "PGPASSWORD DB_PASS dbPassword AWS_SECRET_ACCESS_KEY SECRET_KEY_BASE CLIENT_SECRET API_TOKEN apiKey APIKey JWT_SECRET \
                      spring.datasource.password --token";
        for name in secret.split_whitespace() {
            assert!(Name::of(name).is_secret(), "{name}");
        }
        let none = "TOKEN_URL PASSWORD_FILE passwordFile secretName IMAGE_PULL_SECRET TLS_SECRET COMPASS BYPASS MAX_TOKENS PASSWORD_MIN_LENGTH \
                    CACHE_KEY LEVEL token_ttl existingSecret";
        for name in none.split_whitespace() {
            assert!(!Name::of(name).is_secret(), "{name}");
        }
        for name in [
            "secret",
            "secretKey",
            "existingSecret",
            "tokenSecret",
            "credentials",
        ] {
            assert!(!Name::of(name).is_secret_of_a_chart(), "{name}");
        }
    }

    #[test]
    fn values_that_are_put_in_elsewhere_are_no_secrets() {
        let none = [
            "",
            "$(PG_PASSWORD)",
            "${API_TOKEN}",
            "$TOKEN",
            "{{ .Values.x }}",
            "<password>",
            "true",
            "42",
            "0.5",
            "/var/run/secrets/token",
            "https://sso.test/token",
            "ENC[AES256_GCM,data:x]",
            "$__file{/etc/x}",
        ];
        for value in none {
            assert!(!may_be(value), "{value}");
        }
        for value in ["hunter2", "123456", "${TOKEN:-hunter2}", "pa$$word", "p/w"] {
            assert!(may_be(value), "{value}");
        }
    }

    #[test]
    fn secrets_that_their_value_tells() {
        let words = Words::new().unwrap();
        let long = "a".repeat(36);
        let secret = [
            "redis://:hunter2@redis:6379".to_owned(),
            "user:pass@tcp(db:3306)/x".to_owned(),
            "jdbc:postgresql://db/x?user=a&password=hunter2".to_owned(),
            format!("sk_live_{long}"),
            format!("https://hooks.slack.com/services/T0AB/B0CD/{long}"),
            format!("eyJ{long}.eyJ{long}.{long}"),
            format!("AIza{}", &long[1..]),
        ];
        for text in secret {
            assert!(words.tells(&text), "{text}");
        }
        let none = [
            "postgres://a:$(PASSWORD)@db/x",
            "postgres://a:${PASSWORD}@db/x",
            "amqp://a:{{ .password }}@mq",
            "ssh://git@host.test/x.git",
            "http://a.test:8080/@x",
            "jdbc:postgresql://db/x?password=${PASSWORD}",
            "mailto:a@b.test",
        ];
        for text in none {
            assert!(!words.tells(text), "{text}");
        }
    }

    #[test]
    fn lines_of_configuration_and_not_of_code() {
        let words = Words::new().unwrap();
        let text = "# password: example\nspring.datasource.password=hunter2\n  \"api_key\": \"k1\", \npassword: ${PASSWORD}\ntoken_file: /a\nsecretName: x\ntoken = read(x)\n";
        let found = words.named_lines("application.properties", text);
        assert_eq!(found, ["spring.datasource.password", "api_key"]);
        assert!(words.named_lines("run.sh", text).is_empty());
    }
}
