//! Where a server listens.

use std::{fmt, str::FromStr};

use super::read_number;

/// A host and a TCP port, written `HOST:PORT`, as in `zk1:2181` or `[::1]:2181`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an address; an IPv6 one without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// This machine when no host is named. An IPv6 address may be in brackets.
    pub fn new(host: Option<&str>, port: u16) -> Self {
        let host = host.unwrap_or("127.0.0.1");
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self { host: bare.to_owned(), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Why a text is not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not HOST:PORT, as in zk1:2181")]
pub struct InvalidAddress {
    text: String,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (host, port) = text.rsplit_once(':').unwrap_or_default();
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let known = !host.is_empty() && (bracketed || !host.contains([':', '[', ']']));
        match read_number(port) {
            Ok(port @ 1..) if known => Ok(Self::new(Some(host), port)),
            _ => Err(InvalidAddress { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in ["zk1:2181", "10.0.0.1:1", "[::1]:2181"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "zk1", "zk1:", ":2181", "::1:2181", "zk1:0", "zk1:65536"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
