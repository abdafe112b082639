//! A person as others say that they are: an identity provider, or a proxy.
//!
//! Not here: what the person may; the API server is asked about the name and the groups.

/// What names of Kubernetes' own begin with.
const RESERVED: &str = "system:";

/// A user as the API server is asked about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: String,
    /// The groups.
    pub groups: Vec<String>,
}

impl Person {
    /// A person of this name in these groups; none for a name that Kubernetes has for itself, whose
    /// groups are left out too.
    pub fn new(name: String, mut groups: Vec<String>) -> Option<Self> {
        let plain = |name: &String| {
            let text = !name.trim().is_empty() && !name.chars().any(char::is_control);
            text && !name.starts_with(RESERVED)
        };
        groups.retain(plain);
        plain(&name).then_some(Self { name, groups })
    }
}
