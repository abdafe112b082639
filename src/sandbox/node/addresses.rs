//! The addresses of the node's pods.

use std::collections::HashSet;
use std::sync::Arc;

/// Pod addresses: 10.1.0.1 and on, each in use once.
#[derive(Debug, Default)]
pub struct Addresses {
    used: HashSet<Arc<str>>,
    last: u32,
}

impl Addresses {
    /// One that is in use already.
    pub fn take(&mut self, ip: String) {
        self.used.insert(ip.into());
    }

    /// One that is in use no more.
    pub fn free(&mut self, ip: &str) {
        self.used.remove(ip);
    }

    /// One that nobody has.
    pub fn next(&mut self) -> String {
        loop {
            self.last = (self.last + 1) % 0x00fe_ffff;
            let [_, a, b, c] = (self.last + 0x0001_0000).to_be_bytes();
            let ip = format!("10.{a}.{b}.{c}");
            if c != 0 && c != 255 && self.used.insert(ip.as_str().into()) {
                return ip;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_and_skip_those_in_use() {
        let mut addresses = Addresses::default();
        addresses.take("10.1.0.2".into());
        let given: Vec<_> = (0..300).map(|_| addresses.next()).collect();
        assert_eq!(given[..2], ["10.1.0.1", "10.1.0.3"]);
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), 300);
    }
}
