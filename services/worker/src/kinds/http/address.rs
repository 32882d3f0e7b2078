//! Classifies addresses and names as public or private.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not the public internet: private, shared (RFC 6598), loopback,
/// link-local with the clouds' metadata, documentation, benchmarking, relays, multicast,
/// reserved (RFC 6890), and the one public address behind which a cloud keeps its
/// metadata.
const REFUSED_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Global unicast IPv6. All other addresses are loopback, link-local, unique local, multicast,
/// or embed an IPv4 address (mapped, NAT64).
const INTERNET_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Exceptions within [`INTERNET_V6`]: protocol assignments with Teredo, documentation, and
/// 6to4, which embeds IPv4 addresses.
const REFUSED_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Domains that are not part of the public internet: special-use names (RFC 6761, 6762, 7686, 8375
/// and 9476), the one that ICANN reserved, and others that private networks commonly use.
const INTERNAL_DOMAINS: [&str; 16] = [
    "alt",
    "consul",
    "corp",
    "docker",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "svc",
];

/// Whether `name`, in lower case, can't belong to the public internet.
pub(super) fn is_internal_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let lies_in = |domain: &&str| name.strip_suffix(*domain).is_some_and(|it| it.ends_with('.'));
    !name.contains('.') || INTERNAL_DOMAINS.iter().any(lies_in)
}

/// Whether `address` belongs to the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            !REFUSED_V4.iter().any(|(net, length)| (bits ^ net.to_bits()) >> (32 - length) == 0)
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let lies_in =
                |(net, length): &(Ipv6Addr, u32)| (bits ^ net.to_bits()) >> (128 - length) == 0;
            lies_in(&INTERNET_V6) && !REFUSED_V6.iter().any(lies_in)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn special_ipv4_networks_are_not_public(address in any::<Ipv4Addr>()) {
            let is_special = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_unspecified();
            prop_assert!(!(is_special && is_public(address.into())));
        }

        #[test]
        fn embedded_ipv4_addresses_are_not_public(address in any::<Ipv4Addr>()) {
            let bits = u128::from(address.to_bits());
            let nat64 = Ipv6Addr::from_bits(0x64_ff9b << 96 | bits);
            let six_to_four = Ipv6Addr::from_bits(0x2002 << 112 | bits << 80);
            for embedded in [address.to_ipv6_mapped(), address.to_ipv6_compatible(), nat64, six_to_four] {
                prop_assert!(!is_public(embedded.into()), "{embedded}");
            }
        }

        #[test]
        fn special_ipv6_networks_are_not_public(address in any::<Ipv6Addr>()) {
            let is_special = address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || address.is_loopback();
            prop_assert!(!(is_special && is_public(address.into())));
        }
    }

    #[test]
    fn names_of_private_networks_are_internal() {
        for name in [
            "localhost",
            "postgres",
            "postgres.",
            "redis.default.svc",
            "redis.default.svc.cluster.local",
            "db.corp",
            "printer.local.",
            "metadata.google.internal",
            "router.home.arpa",
        ] {
            assert!(is_internal_name(name), "{name}");
        }
        for name in ["example.org", "example.org.", "local.example", "mylocal.com", "arpa.net"] {
            assert!(!is_internal_name(name), "{name}");
        }
    }

    #[test]
    fn only_the_public_internet_is_public() {
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ];
        for address in refused {
            assert!(!is_public(address.parse().expect(address)), "{address} is not public");
        }
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2a00:1450:4001:830::200e",
        ];
        for address in public {
            assert!(is_public(address.parse().expect(address)), "{address} is public");
        }
    }
}
