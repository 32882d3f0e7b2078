//! The client address behind proxies.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::HeaderValue;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that may set `X-Forwarded-For`.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
    hops: usize,
}

impl TrustedProxies {
    /// The proxies in `networks`, or, with `hops`, that many in front of this server. With both,
    /// the nearest of these proxies is in `networks`.
    pub fn new(networks: &[IpNet], hops: usize) -> Self {
        Self { networks: networks.into(), hops }
    }

    /// Returns the address of the client for which `peer` forwards a request; `None` if
    /// `peer` is not trusted or sends no such header.
    ///
    /// Each proxy appends the address that it received the request from, and the client may have
    /// made up those before. With a number of hops the client is the address that the outermost
    /// of these proxies appended. Otherwise it is the last address that is not trusted. That
    /// requires that no client has a trusted address: a load balancer that replaces the client's
    /// address by its own would let the client choose the next one.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.is_proxy(peer) {
            return None;
        }
        if self.hops > 0 {
            return forwarded_for(headers).nth(self.hops - 1).flatten();
        }
        let mut client = None;
        for address in forwarded_for(headers) {
            client = Some(address?);
            if !self.trusts(address?) {
                break;
            }
        }
        client
    }

    /// Whether `peer` is a proxy, whose connections carry requests of many clients.
    pub(crate) fn is_proxy(&self, peer: IpAddr) -> bool {
        (self.hops > 0 && self.networks.is_empty()) || self.trusts(peer)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// Returns the addresses of `X-Forwarded-For`, the last one first; `None` for each that cannot
/// be parsed.
fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lists = headers.get_all(X_FORWARDED_FOR).iter().rev().map(HeaderValue::to_str);
    lists.flat_map(|list| list.unwrap_or("unreadable").rsplit(',').map(parse))
}

/// Parses an address; some proxies append the port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    Some(address.ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client behind `peer` if `192.0.2.0/24` and `fd00::/8` are trusted.
    fn client(peer: &str, forwarded: &[&'static str]) -> Option<String> {
        let networks = ["192.0.2.0/24", "fd00::/8"].map(|text| text.parse().expect("a network"));
        let mut headers = HeaderMap::new();
        for list in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static(list));
        }
        let peer = peer.parse().expect("an address");
        TrustedProxies::new(&networks, 0).client(peer, &headers).map(|client| client.to_string())
    }

    #[test]
    fn trusted_proxy_names_its_client() {
        for list in ["203.0.113.9", " 203.0.113.9:4711 ", "::ffff:203.0.113.9"] {
            assert_eq!(client("192.0.2.1", &[list]).as_deref(), Some("203.0.113.9"), "{list}");
        }
        assert_eq!(client("::ffff:192.0.2.1", &["2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(client("fd00::1", &["[2001:db8::1]:80"]).as_deref(), Some("2001:db8::1"));
    }

    #[test]
    fn client_cannot_choose_its_address() {
        assert_eq!(client("203.0.113.9", &["198.51.100.7"]), None, "not a trusted proxy");
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
    fn unparsable_address_is_no_client() {
        for lists in [&[][..], &[""], &["unknown"], &["203.0.113.9,"]] {
            assert_eq!(client("192.0.2.1", lists), None, "{lists:?}");
        }
    }

    #[test]
    fn proxy_may_be_the_client() {
        assert_eq!(client("192.0.2.1", &["192.0.2.7"]).as_deref(), Some("192.0.2.7"));
    }

    /// The client behind `peer` if `hops` proxies in `networks` are trusted.
    fn client_of(hops: usize, networks: &[IpNet], peer: &str, list: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, list.parse().expect("a header"));
        let peer = peer.parse().expect("an address");
        TrustedProxies::new(networks, hops).client(peer, &headers).map(|client| client.to_string())
    }

    #[test]
    fn hops_are_counted_from_the_right() {
        let list = "198.51.100.7, 203.0.113.9, 10.0.0.2";
        for (hops, expected) in
            [(1, Some("10.0.0.2")), (2, Some("203.0.113.9")), (3, Some("198.51.100.7")), (4, None)]
        {
            assert_eq!(client_of(hops, &[], "10.0.0.1", list).as_deref(), expected, "{hops}");
        }
        // What a client sends appears before what the proxies append, whatever it is.
        for forged in ["nonsense", ",,,", "10.9.9.9", "[::1]:80"] {
            let list = format!("{forged}, 203.0.113.9");
            assert_eq!(client_of(1, &[], "10.0.0.1", &list).as_deref(), Some("203.0.113.9"));
        }
        assert_eq!(client_of(1, &[], "10.0.0.1", "unknown"), None);
    }

    /// A load balancer in front of the gateway replaced the client's address by that of a node.
    #[test]
    fn hidden_client_cannot_choose_its_address() {
        let private = ["10.0.0.0/8".parse().expect("a network")];
        let list = "198.51.100.7, 10.0.3.1";
        assert_eq!(client_of(1, &[], "10.0.0.1", list).as_deref(), Some("10.0.3.1"));
        assert_eq!(client_of(1, &private, "10.0.0.1", list).as_deref(), Some("10.0.3.1"));
        assert_eq!(client_of(0, &private, "10.0.0.1", list).as_deref(), Some("198.51.100.7"));
    }

    #[test]
    fn hops_count_behind_the_listed_proxies_only() {
        let gateway = ["10.0.0.0/24".parse().expect("a network")];
        let list = "203.0.113.9";
        assert_eq!(client_of(1, &gateway, "10.0.0.1", list).as_deref(), Some("203.0.113.9"));
        assert_eq!(client_of(1, &gateway, "10.0.1.1", list), None);
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_handled(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            peer in proptest::prelude::any::<[u8; 4]>(),
        ) {
            let networks = ["0.0.0.0/1".parse().expect("a network")];
            let proxies = TrustedProxies::new(&networks, 0);
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.append(X_FORWARDED_FOR, value);
            }
            let peer = IpAddr::from(peer);
            let client = proxies.client(peer, &headers);
            proptest::prop_assert!(client.is_none() || proxies.trusts(peer));
        }

        #[test]
        fn address_of_the_last_proxy_is_the_client(
            spoofed in "[ -~]{0,50}",
            client in proptest::prelude::any::<[u8; 4]>(),
        ) {
            let client = IpAddr::from(client);
            let mut headers = HeaderMap::new();
            let value = format!("{spoofed}, {client}");
            headers.append(X_FORWARDED_FOR, value.parse().expect("visible ASCII"));
            let peer: IpAddr = "192.0.2.1".parse().expect("an address");
            let proxies = TrustedProxies::new(&["192.0.2.1/32".parse().expect("a network")], 0);
            proptest::prop_assume!(client != peer);
            proptest::prop_assert_eq!(proxies.client(peer, &headers), Some(client));
        }
    }
}
