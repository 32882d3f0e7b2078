//! The network of a client: what limits apply to.

use std::net::{IpAddr, Ipv6Addr};

/// Returns an IPv4 address, or the /64 of an IPv6 address, which one client usually controls.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_client_are_one_network() {
        let of = |text: &str| network(text.parse().expect("an address")).to_string();
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::"),
            ("2001:db8::ffff:0:0:2", "2001:db8::"),
            ("2001:db8:0:1::2", "2001:db8:0:1::"),
        ] {
            assert_eq!(of(address), expected);
        }
    }
}
