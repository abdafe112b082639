//! Templates: text with `{{names}}` that a Rollout fills in.
//!
//! The names are a closed set, checked when a rule is read, so that filling in cannot fail.
//!
//! Not here: what the filled text is then compared with.

use std::fmt;

/// Text with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Variable),
}

/// What a template may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// Namespace of the Rollout.
    Namespace,
    /// The stable Ingress.
    Ingress,
    /// The stable Service.
    Service,
    /// The canary's Service.
    CanaryService,
    /// The Service's port, as the Ingress names it.
    Port,
    /// The Rollout's name.
    Name,
    /// The stable workload.
    Workload,
    /// The canary's Deployment.
    CanaryWorkload,
    /// The canary's pods, as a regular expression.
    CanaryPods,
    /// Stable's pods, as a regular expression.
    StablePods,
    /// The pods of the arm that is asked for, as a regular expression.
    Pods,
    /// The arm that is asked for: `canary` or `stable`.
    Arm,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("`{{{{` without `}}}}`")]
    Open,
    /// A name that does not exist.
    #[error(
        "unknown name `{0}` in a template; known are namespace, ingress, service, canaryService, port, name, workload, canaryWorkload, canaryPods, stablePods, pods, arm"
    )]
    Unknown(String),
}

impl Variable {
    const ALL: [(&'static str, Self); 12] = [
        ("namespace", Self::Namespace),
        ("ingress", Self::Ingress),
        ("service", Self::Service),
        ("canaryService", Self::CanaryService),
        ("port", Self::Port),
        ("name", Self::Name),
        ("workload", Self::Workload),
        ("canaryWorkload", Self::CanaryWorkload),
        ("canaryPods", Self::CanaryPods),
        ("stablePods", Self::StablePods),
        ("pods", Self::Pods),
        ("arm", Self::Arm),
    ];

    /// Whether it differs from arm to arm, so that only queries, made for one arm, can name it.
    pub fn is_of_arm(self) -> bool {
        matches!(self, Self::Pods | Self::Arm)
    }

    /// Whether its value is a regular expression.
    pub fn is_pattern(self) -> bool {
        matches!(self, Self::CanaryPods | Self::StablePods | Self::Pods)
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, variable)| *variable)
    }

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, variable)| *variable == self)
            .map_or("", |(name, _)| name)
    }
}

impl Template {
    /// Reads a template; unknown names are refused.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let (before, opened) = rest.split_at(start);
            let end = opened.find("}}").ok_or(TemplateError::Open)?;
            let name = opened[2..end].trim();
            let variable =
                Variable::parse(name).ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            pieces.extend(text_piece(before));
            pieces.push(Piece::Variable(variable));
            rest = &opened[end + 2..];
        }
        pieces.extend(text_piece(rest));
        Ok(Self(pieces))
    }

    /// The text with every name replaced by `value`'s answer.
    pub fn fill<'a>(&self, value: impl Fn(Variable) -> &'a str) -> String {
        self.render(|variable| value(variable).to_owned())
    }

    /// As [`Template::fill`], each value escaped so that it matches only itself in a regular
    /// expression; one that is an expression stays as it is.
    pub fn fill_pattern<'a>(&self, value: impl Fn(Variable) -> &'a str) -> String {
        self.render(|variable| {
            if variable.is_pattern() {
                value(variable).to_owned()
            } else {
                regex::escape(value(variable))
            }
        })
    }

    /// What it names.
    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Variable(variable) => Some(*variable),
        })
    }

    fn render(&self, value: impl Fn(Variable) -> String) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Variable(variable) => value(*variable),
            })
            .collect()
    }
}

fn text_piece(text: &str) -> Option<Piece> {
    (!text.is_empty()).then(|| Piece::Text(text.to_owned()))
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Variable(variable) => write!(f, "{{{{{}}}}}", variable.name())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(variable: Variable) -> &'static str {
        match variable {
            Variable::Namespace => "shop",
            Variable::CanaryService => "api.canary",
            Variable::CanaryPods => "api-canary-[a-z]+",
            Variable::Ingress
            | Variable::Service
            | Variable::Port
            | Variable::Name
            | Variable::Workload
            | Variable::CanaryWorkload
            | Variable::StablePods
            | Variable::Pods
            | Variable::Arm => "x",
        }
    }

    #[test]
    fn names_are_filled_in_and_escaped_in_patterns() {
        let template = Template::parse("{{namespace}}-{{ canaryService }}-.*").unwrap();
        assert_eq!(template.fill(value), "shop-api.canary-.*");
        assert_eq!(template.fill_pattern(value), r"shop-api\.canary-.*");
        assert_eq!(template.to_string(), "{{namespace}}-{{canaryService}}-.*");
        let pods = Template::parse("{{canaryPods}}").unwrap();
        assert_eq!(pods.fill_pattern(value), "api-canary-[a-z]+");
    }

    #[test]
    fn unknown_and_unclosed_names_are_refused() {
        assert_eq!(
            Template::parse("a{{pod}}"),
            Err(TemplateError::Unknown("pod".into()))
        );
        assert_eq!(Template::parse("a{{name"), Err(TemplateError::Open));
    }
}
