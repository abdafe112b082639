//! A proxy in front of the page that has asked people who they are and says so in headers.
//!
//! Guarantees: the headers count only on connections that come from the addresses of the settings; a
//! user's header that is there twice, or cannot be a user's name, names nobody.
//!
//! Assumptions: the proxy removes these headers from what it is sent. Not here: what the person may.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::person::Person;

/// Which proxies are believed, and where they say who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Their addresses.
    pub from: Vec<IpNet>,
    /// The header with the user's name.
    pub user_header: HeaderName,
    /// The header with the user's groups, separated by commas; it may be there several times.
    pub groups_header: Option<HeaderName>,
}

/// What a request's headers come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Introduced {
    /// Nobody is named.
    Nobody,
    /// Somebody is named from an address that is not listed.
    Unlisted,
    /// A listed proxy names this person.
    Person(Person),
}

impl Proxy {
    /// Who a request is from, that came from this address.
    pub fn introduces(&self, headers: &HeaderMap, from: Option<IpAddr>) -> Introduced {
        if !headers.contains_key(&self.user_header) {
            return Introduced::Nobody;
        }
        let from = from.map(|from| from.to_canonical());
        let listed = from.is_some_and(|from| self.from.iter().any(|net| net.contains(&from)));
        if !listed {
            return Introduced::Unlisted;
        }
        let person = self.person(headers);
        person.map_or(Introduced::Nobody, Introduced::Person)
    }

    fn person(&self, headers: &HeaderMap) -> Option<Person> {
        let mut users = headers.get_all(&self.user_header).iter();
        let (user, second) = (users.next()?, users.next());
        let name = second.is_none().then(|| user.to_str().ok())??.trim();
        let groups = self.groups_header.iter();
        let groups = groups.flat_map(|header| headers.get_all(header));
        let groups = groups.filter_map(|value| value.to_str().ok());
        let groups = groups.flat_map(|value| value.split(',')).map(str::trim);
        let groups = groups.filter(|group| !group.is_empty()).map(str::to_owned);
        Person::new(name.to_owned(), groups.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduced(headers: &[(&'static str, &str)], from: &str) -> Introduced {
        let proxy = Proxy {
            from: vec!["10.1.0.0/16".parse().unwrap(), "::1/128".parse().unwrap()],
            user_header: HeaderName::from_static("x-user"),
            groups_header: Some(HeaderName::from_static("x-groups")),
        };
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        proxy.introduces(&all, from.parse().ok())
    }

    #[test]
    fn only_listed_proxies_say_who_it_is() {
        let alice = Person {
            name: "alice".to_owned(),
            groups: vec!["dev".to_owned(), "ops".to_owned()],
        };
        let headers = [
            ("x-user", "alice"),
            ("x-groups", "dev, ops,,system:masters"),
        ];
        for from in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            let wanted = Introduced::Person(alice.clone());
            assert_eq!(introduced(&headers, from), wanted, "{from}");
        }
        for from in ["10.2.0.1", "::2", "127.0.0.1", ""] {
            assert_eq!(introduced(&headers, from), Introduced::Unlisted, "{from}");
        }
    }

    #[test]
    fn a_header_that_names_nobody_is_nobody() {
        let cases: [&[(&'static str, &str)]; 6] = [
            &[],
            &[("x-groups", "dev")],
            &[("x-user", "")],
            &[("x-user", " ")],
            &[("x-user", "system:admin")],
            &[("x-user", "alice"), ("x-user", "bob")],
        ];
        for headers in cases {
            let found = introduced(headers, "10.1.2.3");
            assert_eq!(found, Introduced::Nobody, "{headers:?}");
        }
    }
}
