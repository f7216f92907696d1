//! Who the client is: the peer, or behind trusted proxies the right-most untrusted address of the one header that is believed.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{self, HeaderName};
use ipnet::IpNet;

/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Real-IP`.
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The one forwarding header that is believed (hardening r43).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Believed {
    XForwardedFor,
    Forwarded,
    XRealIp,
}

/// A set of networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Takes the networks as written.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `address` lies in one of them; an IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// No network at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whom a listener believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Peers that may say who the client is.
    pub proxies: Networks,
    /// By which header.
    pub believed: Believed,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub peer_trusted: bool,
    /// The client.
    pub client: IpAddr,
}

impl Trust {
    /// Walks the believed header from the right, past trusted proxies. An entry that does not parse ends the walk at the last
    /// address known: a proxy vouches for what it appended, not for what it was sent.
    #[must_use]
    pub fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        let peer = peer.to_canonical();
        if !self.proxies.contain(peer) {
            return Origin {
                peer,
                peer_trusted: false,
                client: peer,
            };
        }
        let mut client = peer;
        let name = match self.believed {
            Believed::XForwardedFor => X_FORWARDED_FOR,
            Believed::Forwarded => header::FORWARDED,
            Believed::XRealIp => X_REAL_IP,
        };
        let mut values: Vec<&[u8]> = headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
        if self.believed == Believed::XRealIp && values.len() > 1 {
            values.clear();
        }
        let entries = values.iter().rev().flat_map(|value| match self.believed {
            Believed::XRealIp => vec![*value],
            Believed::XForwardedFor => split_right(value, false),
            Believed::Forwarded => split_right(value, true),
        });
        for entry in entries {
            let Some(address) = self.address(entry) else { break };
            client = address;
            if !self.proxies.contain(address) {
                break;
            }
        }
        Origin {
            peer,
            peer_trusted: true,
            client,
        }
    }

    fn address(&self, entry: &[u8]) -> Option<IpAddr> {
        let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
        let node = match self.believed {
            Believed::XForwardedFor | Believed::XRealIp => entry,
            Believed::Forwarded => forwarded_for(entry)?,
        };
        parse_node(node)
    }
}

/// The comma-separated entries from the right; commas inside quoted strings (RFC 7239 §4) separate nothing.
fn split_right(value: &[u8], quotes: bool) -> Vec<&[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    let mut entries: Vec<&[u8]> = value
        .split(|byte| {
            if escaped {
                escaped = false;
            } else if quoted && *byte == b'\\' {
                escaped = true;
            } else if quotes && *byte == b'"' {
                quoted = !quoted;
            }
            *byte == b',' && !quoted
        })
        .collect();
    entries.reverse();
    entries
}

/// The `for` parameter of one `forwarded-element`.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    let value = found?;
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

/// An address with or without port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse_node(node: &str) -> Option<IpAddr> {
    let bare = node
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|inside| inside.contains(':'));
    let address = bare.unwrap_or(node).parse::<IpAddr>();
    address
        .or_else(|_| node.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn trust(believed: Believed) -> Trust {
        Trust {
            proxies: Networks::new(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]),
            believed,
        }
    }

    fn client(believed: Believed, peer: &str, name: &'static str, values: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        trust(believed)
            .origin(peer.parse().unwrap(), &headers)
            .client
            .to_string()
    }

    #[test]
    fn a_stranger_is_who_it_connects_as_whatever_it_says() {
        for believed in [Believed::XForwardedFor, Believed::Forwarded, Believed::XRealIp] {
            assert_eq!(
                client(believed, "203.0.113.9", "x-forwarded-for", &["127.0.0.1"]),
                "203.0.113.9"
            );
        }
    }

    #[test]
    fn behind_proxies_the_client_is_the_right_most_untrusted_address() {
        let client = |values: &[&str]| client(Believed::XForwardedFor, "10.0.0.1", "x-forwarded-for", values);
        assert_eq!(client(&["198.51.100.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client(&["198.51.100.1", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(client(&["[2001:db8::7]:80"]), "2001:db8::7");
        assert_eq!(client(&["::ffff:203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["10.9.9.9"]), "10.9.9.9", "all trusted: the left-most known");
        assert_eq!(client(&[]), "10.0.0.1");
    }

    #[test]
    fn an_entry_that_does_not_parse_ends_the_walk_there() {
        let client = |values: &[&str]| client(Believed::XForwardedFor, "10.0.0.1", "x-forwarded-for", values);
        assert_eq!(client(&["203.0.113.9, unknown"]), "10.0.0.1");
        assert_eq!(client(&["203.0.113.9, , 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client(&["203.0.113.9, 010.0.0.2"]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_with_its_quotes() {
        let client = |value: &str| client(Believed::Forwarded, "::1", "forwarded", &[value]);
        assert_eq!(client("for=203.0.113.9;proto=https"), "203.0.113.9");
        assert_eq!(client("proto=https;For=\"[2001:db8::7]:4711\""), "2001:db8::7");
        assert_eq!(client("for=203.0.113.9, for=10.0.0.3"), "203.0.113.9");
        assert_eq!(client("for=\"_hidden, for=1.2.3.4\""), "::1");
        assert_eq!(client("for=203.0.113.9;for=198.51.100.1"), "::1");
    }

    #[test]
    fn r43_the_form_that_is_not_believed_says_nothing() {
        assert_eq!(
            client(Believed::XForwardedFor, "10.0.0.1", "forwarded", &["for=127.0.0.1"]),
            "10.0.0.1"
        );
        assert_eq!(
            client(Believed::XRealIp, "10.0.0.1", "x-real-ip", &["203.0.113.9"]),
            "203.0.113.9"
        );
        assert_eq!(
            client(
                Believed::XRealIp,
                "10.0.0.1",
                "x-real-ip",
                &["203.0.113.9", "127.0.0.1"]
            ),
            "10.0.0.1"
        );
    }
}
