//! The ingress-nginx annotations that decide where a request goes.
//!
//! Read as the controller reads them: what cannot be parsed counts as not said. Not here:
//! annotations that change requests or answers (rewrites, CORS, authentication).

use std::collections::BTreeMap;

use regex::Regex;

/// What the controller's annotations begin with by default.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io";

/// How much of which traffic the canary gets.
#[derive(Debug, Clone, Default)]
pub struct Shaping {
    pub weight: u32,
    /// 0 counts as 100, as does anything below.
    pub weight_total: u32,
    pub header: String,
    pub header_value: String,
    pub header_pattern: Option<Regex>,
    pub cookie: String,
}

impl Shaping {
    /// What the weight is out of.
    pub fn total(&self) -> u32 {
        self.weight_total.max(100)
    }
}

/// One Ingress' annotations.
#[derive(Debug, Clone, Default)]
pub struct Annotations {
    /// None unless the Ingress is a canary.
    pub canary: Option<Shaping>,
    /// The session cookie's name, if sessions stick.
    pub affinity: Option<String>,
    /// Whether the canary's sessions stick too.
    pub canary_sticks: bool,
    pub use_regex: bool,
}

impl Annotations {
    /// Reads an Ingress' annotations under `prefix`.
    pub fn read(annotations: &BTreeMap<String, String>, prefix: &str) -> Self {
        let reader = Reader {
            annotations,
            prefix,
        };
        let cookie = reader.get("session-cookie-name").unwrap_or("INGRESSCOOKIE");
        Self {
            canary: reader.is("canary").then(|| reader.shaping()),
            affinity: (reader.get("affinity") == Some("cookie")).then(|| cookie.to_owned()),
            canary_sticks: reader.get("affinity-canary-behavior") != Some("legacy"),
            use_regex: reader.is("use-regex"),
        }
    }
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    prefix: &'a str,
}

impl<'a> Reader<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let value = self
            .annotations
            .get(&format!("{}/{name}", self.prefix))?
            .trim();
        Some(value).filter(|value| !value.is_empty())
    }

    fn is(&self, name: &str) -> bool {
        matches!(
            self.get(name),
            Some("true" | "1" | "t" | "T" | "TRUE" | "True")
        )
    }

    fn number(&self, name: &str) -> u32 {
        self.get(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    fn shaping(&self) -> Shaping {
        Shaping {
            weight: self.number("canary-weight"),
            weight_total: self.number("canary-weight-total"),
            header: self.text("canary-by-header"),
            header_value: self.text("canary-by-header-value"),
            header_pattern: self
                .get("canary-by-header-pattern")
                .and_then(|text| Regex::new(text).ok()),
            cookie: self.text("canary-by-cookie"),
        }
    }
}
