//! The server's address, from the configured URL.

use std::fmt::{self, Display};
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use lapin::tcp::OwnedTLSConfig;
use lapin::uri::{AMQPScheme, AMQPUri};
use miniapp_config::EngineUrl;

use crate::BrokerError;

/// Default heartbeat interval in seconds. A peer that misses two heartbeats is considered
/// gone; shorter intervals cause false alarms on a busy machine.
const HEARTBEAT: u16 = 5;
/// A lost server is noticed after two intervals and a half, which must be less than 30 seconds.
const HEARTBEATS: RangeInclusive<u16> = 1..=10;
/// Default frame size in bytes. lapin buffers 32 frames in each direction; the server's
/// default would make that 8 MiB per connection.
const FRAME_MAX: u32 = 32 * 1024;
/// RabbitMQ requires 8 KiB.
const FRAME_SIZES: RangeInclusive<u32> = 8 * 1024..=1024 * 1024;
/// Each concurrent publish and each consumer uses a channel.
const CHANNELS: RangeInclusive<u16> = 64..=u16::MAX;

/// A server, a virtual host and credentials. `Display` omits the credentials.
#[derive(Clone)]
pub(super) struct Address {
    pub uri: AMQPUri,
    pub tls: OwnedTLSConfig,
}

impl Address {
    /// Parses `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. Defaults are
    /// `guest:guest`, `localhost`, the scheme's port and the vhost `/`.
    ///
    /// Supports RabbitMQ's query parameters `heartbeat` (seconds), `frame_max` (bytes),
    /// `channel_max`, `auth_mechanism`, and `cacertfile` for private certificate authorities.
    /// Values that would disable heartbeats, or that RabbitMQ rejects, are replaced.
    pub fn parse(url: &EngineUrl) -> Result<Self, BrokerError> {
        // The parser's message is dropped: it may contain the password.
        let mut uri: AMQPUri = url.expose().parse().map_err(|_| {
            invalid(format!("{url} is not like amqp://user:password@host:port/vhost"))
        })?;
        if let Some(host) = ipv6_host(url) {
            uri.authority.host = host.to_string();
        }
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        let query = &mut uri.query;
        query.heartbeat = Some(usable("heartbeat", query.heartbeat, HEARTBEAT, HEARTBEATS));
        query.frame_max = Some(usable("frame_max", query.frame_max, FRAME_MAX, FRAME_SIZES));
        query.channel_max =
            query.channel_max.map(|max| usable("channel_max", Some(max), 0, CHANNELS));
        let cert_chain = match parameter(url, "cacertfile") {
            None => None,
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                invalid(format!("can't read {file}, the cacertfile of {url}: {error}"))
            })?),
        };
        Ok(Self { uri, tls: OwnedTLSConfig { identity: None, cert_chain } })
    }

    pub fn is_tls(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }
}

/// Returns the value to use for a parameter of the URL. 0, which means no limit, is the default.
fn usable<T: Copy + Default + Ord + Display>(
    parameter: &str,
    given: Option<T>,
    default: T,
    range: RangeInclusive<T>,
) -> T {
    let Some(given) = given else { return default };
    let used =
        if given == T::default() { default } else { given.clamp(*range.start(), *range.end()) };
    if used != given {
        tracing::warn!(parameter, %given, %used, "replaced an unsuitable value in broker.url");
    }
    used
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        match authority.host.parse::<Ipv6Addr>() {
            Ok(host) => write!(f, "[{host}]:{}", authority.port),
            Err(_) => write!(f, "{}:{}", authority.host, authority.port),
        }
    }
}

fn invalid(text: String) -> BrokerError {
    BrokerError::Unavailable(text)
}

/// Returns the host if it is an IPv6 address, which lapin's parser does not support.
fn ipv6_host(url: &EngineUrl) -> Option<Ipv6Addr> {
    let authority = url.rest().split(['/', '?']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']')?.0.parse().ok()
}

fn parameter<'a>(url: &'a EngineUrl, name: &str) -> Option<&'a str> {
    let (_, query) = url.rest().split_once('?')?;
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_urls_are_parsed_without_panic(rest in "\\PC{0,60}", is_tls in any::<bool>()) {
            let scheme = if is_tls { "amqps" } else { "amqp" };
            if let Ok(address) = parse(&format!("{scheme}://{rest}")) {
                prop_assert_eq!(address.is_tls(), is_tls);
            }
        }

        #[test]
        fn display_does_not_contain_the_password(host in "[a-z0-9.]{1,20}", port in any::<u16>()) {
            if let Ok(address) = parse(&format!("amqp://me:SECRET@{host}:{port}/")) {
                prop_assert!(!address.to_string().contains("SECRET"));
            }
        }
    }

    fn parse(url: &str) -> Result<Address, BrokerError> {
        Address::parse(&EngineUrl::new(url))
    }

    #[test]
    fn parse_applies_defaults() {
        let address = parse("amqp://mq").unwrap();
        assert_eq!(address.to_string(), "mq:5672");
        assert_eq!(address.uri.vhost, "/");
        assert_eq!(address.uri.authority.userinfo.username, "guest");
        assert_eq!(address.uri.query.heartbeat, Some(HEARTBEAT));
        assert!(!address.is_tls());
    }

    #[test]
    fn parse_reads_every_part() {
        let address = parse("amqps://me:p%40ss@mq.example:5999/a%2Fb?heartbeat=9").unwrap();
        assert_eq!(address.to_string(), "mq.example:5999");
        assert_eq!(address.uri.vhost, "a/b");
        assert_eq!(address.uri.authority.userinfo.password, "p@ss");
        assert_eq!(address.uri.query.heartbeat, Some(9));
        assert!(address.is_tls());
        assert_eq!(parse("amqps://mq/").unwrap().to_string(), "mq:5671");
        assert_eq!(parse("amqp://mq/").unwrap().uri.vhost, "/");
    }

    #[test]
    fn unsuitable_parameters_are_replaced() {
        let query = |query: &str| parse(&format!("amqp://mq/?{query}")).unwrap().uri.query;
        for (given, used) in [(0, HEARTBEAT), (1, 1), (10, 10), (11, 10), (600, 10), (65535, 10)] {
            assert_eq!(query(&format!("heartbeat={given}")).heartbeat, Some(used), "{given}");
        }
        for (given, used) in [(0, FRAME_MAX), (1, 8192), (131_072, 131_072), (u32::MAX, 1 << 20)] {
            assert_eq!(query(&format!("frame_max={given}")).frame_max, Some(used), "{given}");
        }
        for (given, used) in [(0, 0), (1, 64), (100, 100)] {
            assert_eq!(query(&format!("channel_max={given}")).channel_max, Some(used), "{given}");
        }
        assert_eq!(query("").channel_max, None);
        for invalid in ["heartbeat=70000", "heartbeat=-1", "heartbeat=", "frame_max=1k"] {
            assert!(parse(&format!("amqp://mq/?{invalid}")).is_err(), "{invalid}");
        }
    }

    #[test]
    fn parse_accepts_ipv6_hosts() {
        let address = parse("amqp://me:secret@[::1]:5999/v").unwrap();
        assert_eq!(address.to_string(), "[::1]:5999");
        assert_eq!(address.uri.authority.host, "::1");
    }

    #[test]
    fn errors_do_not_contain_the_password() {
        for url in [
            "amqp://me:secret@mq:notaport/",
            "amqp://me:secret@mq/?heartbeat=soon",
            "amqp://me:sec%ret@mq:5672:1/",
            "amqps://me:secret@mq/?cacertfile=/nowhere/ca.pem",
        ] {
            let error = parse(url).map(|address| address.to_string()).unwrap_err().to_string();
            assert!(!error.contains("sec"), "{error}");
        }
    }
}
