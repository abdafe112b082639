//! Where an environment is shown: its name, and the path beneath which its pages lie.
//!
//! A daemon of one environment has its pages at the root; one of several has each environment's
//! beneath a path of its own, with cookies that are sent there only. Not here: what is shown.

/// Where an environment is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The environment's name.
    pub environment: String,
    /// The path before all of its own, without a slash at its end; empty at the root.
    pub base: String,
    /// Whether its pages show a pipeline.
    pub has_pipeline: bool,
}

impl Place {
    /// An environment whose pages are at the root.
    pub fn root(environment: &str) -> Self {
        Self {
            environment: environment.to_owned(),
            ..Self::default()
        }
    }

    /// One of several: its pages are beneath its name.
    pub fn beneath(environment: &str) -> Self {
        Self {
            environment: environment.to_owned(),
            base: format!("/environments/{environment}"),
            ..Self::default()
        }
    }

    /// A path of this environment's, which begins with a slash.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A path of ours: nobody is led elsewhere, and nothing gets into a header. Else the overview.
    pub fn local(&self, path: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-._".contains(c);
        let own = path.strip_prefix(self.base.as_str());
        let ours = own.is_some_and(|own| own.starts_with('/') && !own.starts_with("//"));
        let up = path.split('/').any(|part| part == "..");
        if ours && !up && path.chars().all(plain) {
            path.to_owned()
        } else {
            self.path("/")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_away_from_the_environment() {
        let (root, beneath) = (Place::root("test"), Place::beneath("test"));
        let cases = [
            ("/rollouts/a/b", "/rollouts/a/b", "/environments/test/"),
            (
                "/environments/test/history",
                "/environments/test/history",
                "/environments/test/history",
            ),
            (
                "/environments/other/",
                "/environments/other/",
                "/environments/test/",
            ),
            ("/environments/test/../other/", "/", "/environments/test/"),
            (
                "/environments/tester/",
                "/environments/tester/",
                "/environments/test/",
            ),
            ("//evil.example", "/", "/environments/test/"),
            ("https://evil.example", "/", "/environments/test/"),
            ("/a\r\nset-cookie: x", "/", "/environments/test/"),
            ("/\\evil.example", "/", "/environments/test/"),
            ("", "/", "/environments/test/"),
        ];
        for (asked, at_root, below) in cases {
            assert_eq!(root.local(asked), at_root, "{asked}");
            assert_eq!(beneath.local(asked), below, "{asked}");
        }
    }
}
