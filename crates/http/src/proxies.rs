//! Proxies that say whom they speak for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::HeaderValue;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks whose proxies are believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<[IpNet]>);

impl Proxies {
    /// Believes those in `networks`.
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// Whom `peer` speaks for; nobody but itself where it isn't believed or doesn't say.
    ///
    /// Each proxy adds whom it heard the request from. So the last one in the list that isn't
    /// believed is the client, and what stands before it is only its word.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.believes(peer) {
            return None;
        }
        let mut client = None;
        for address in heard_from(headers) {
            client = Some(address?);
            if !self.believes(address?) {
                break;
            }
        }
        client
    }

    fn believes(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The addresses that proxies added, the nearest first; nothing for one that can't be read.
fn heard_from(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lists = headers.get_all(X_FORWARDED_FOR).iter().rev().map(HeaderValue::to_str);
    lists.flat_map(|list| list.unwrap_or("unreadable").rsplit(',').map(address))
}

/// Some proxies add the port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    Some(address.ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who asks, where `192.0.2.0/24` and `fd00::/8` are believed.
    fn client(peer: &str, forwarded: &[&'static str]) -> Option<String> {
        let networks = ["192.0.2.0/24", "fd00::/8"].map(|text| text.parse().expect("a network"));
        let mut headers = HeaderMap::new();
        for list in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static(list));
        }
        let peer = peer.parse().expect("an address");
        Proxies::new(&networks).client(peer, &headers).map(|client| client.to_string())
    }

    #[test]
    fn a_proxy_is_believed() {
        for list in ["203.0.113.9", " 203.0.113.9:4711 ", "::ffff:203.0.113.9"] {
            assert_eq!(client("192.0.2.1", &[list]).as_deref(), Some("203.0.113.9"), "{list}");
        }
        assert_eq!(client("::ffff:192.0.2.1", &["2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(client("fd00::1", &["[2001:db8::1]:80"]).as_deref(), Some("2001:db8::1"));
    }

    #[test]
    fn a_client_can_not_choose_its_address() {
        assert_eq!(client("203.0.113.9", &["198.51.100.7"]), None, "it is no proxy");
        for lists in [
            &["198.51.100.7, 203.0.113.9"][..],
            &["198.51.100.7", "203.0.113.9, 192.0.2.2"],
            &["192.0.2.3, 203.0.113.9, fd00::2,192.0.2.2"],
            &["nonsense, 203.0.113.9"],
        ] {
            assert_eq!(client("192.0.2.1", lists).as_deref(), Some("203.0.113.9"), "{lists:?}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_nobody() {
        for lists in [&[][..], &[""], &["unknown"], &["203.0.113.9,"]] {
            assert_eq!(client("192.0.2.1", lists), None, "{lists:?}");
        }
    }

    #[test]
    fn a_proxy_may_ask_for_itself() {
        assert_eq!(client("192.0.2.1", &["192.0.2.7"]).as_deref(), Some("192.0.2.7"));
    }
}
