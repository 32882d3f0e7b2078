//! The HTTP client, and the guard against requests to private addresses.
//!
//! Names are resolved here, their addresses are checked, and the connection uses exactly
//! these addresses; so DNS rebinding has no effect. Addresses in URLs are not resolved, so the
//! URL of every request and redirect is checked, too.
//!
//! Names that can't be public are refused without a lookup, and the search domains of the
//! machine are not applied: otherwise the error of a task would tell which internal names exist.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::address::is_internal_name;

/// More redirects are refused.
pub(super) const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request is not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    // The address may be the target of a redirect, which need not be known to the owner.
    #[error("the address is not public")]
    Address,
    #[error("the scheme is not http or https")]
    Scheme,
    #[error("a redirect from https to http")]
    Downgrade,
    #[error("more than {MAX_REDIRECTS} redirects")]
    Redirects,
}

impl Refusal {
    /// Returns the refusal that caused an error.
    pub fn source_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(refused) = error.downcast_ref() {
                return Some(refused);
            }
            cause = error.source();
        }
        None
    }
}

/// Resolves names.
#[async_trait]
pub(super) trait NameResolver: Send + Sync + 'static {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
pub(super) struct SystemResolver {
    /// Whether the search domains of the machine apply to names without a final dot.
    pub uses_search_domains: bool,
}

#[async_trait]
impl NameResolver for SystemResolver {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let mut name = name.to_owned();
        if !self.uses_search_domains && !name.ends_with('.') {
            name.push('.');
        }
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Decides which addresses the client may connect to.
#[derive(Clone)]
pub(super) struct Guard {
    lookup: Arc<dyn NameResolver>,
    is_allowed: fn(IpAddr) -> bool,
    refuses_internal_names: bool,
}

impl Guard {
    pub fn new(lookup: impl NameResolver, is_allowed: fn(IpAddr) -> bool) -> Self {
        Self { lookup: Arc::new(lookup), is_allowed, refuses_internal_names: false }
    }

    /// Refuses names that can't be public without a lookup.
    pub fn refusing_internal_names(self) -> Self {
        Self { refuses_internal_names: true, ..self }
    }

    /// Checks the scheme and the host.
    pub fn check(&self, url: &Url) -> Result<(), Refusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::Scheme);
        }
        // `Url` has normalized all notations of IPv4 addresses, and names to lower case.
        let host = url.host_str().unwrap_or_default();
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let is_allowed = match literal.parse() {
            Ok(address) => (self.is_allowed)(address),
            Err(_) => !(self.refuses_internal_names && is_internal_name(host)),
        };
        if is_allowed { Ok(()) } else { Err(Refusal::Address) }
    }

    /// Returns the allowed addresses of `name`.
    async fn resolve(&self, name: &str) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
        let found = self.lookup.lookup(name).await?;
        let allowed = found.iter().copied().filter(|address| (self.is_allowed)(*address));
        // reqwest replaces the port by the one of the URL.
        let allowed: Vec<SocketAddr> = allowed.map(|address| (address, 0).into()).collect();
        if allowed.is_empty() && !found.is_empty() {
            return Err(Refusal::Address.into());
        }
        Ok(allowed)
    }

    /// Returns a client that is restricted by this guard.
    pub fn client(&self) -> reqwest::Result<Client> {
        // Fails if the process has a default provider, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::builder()
            .user_agent(concat!("miniapp/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(Resolver(self.clone()))
            // Redirects are checked and followed one by one.
            .redirect(Policy::none())
            .build()
    }
}

struct Resolver(Guard);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let addresses = guard.resolve(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kinds::http::address::is_public;

    fn guarded() -> Guard {
        Guard::new(Fixed(Vec::new()), is_public)
    }

    fn open() -> Guard {
        Guard::new(Fixed(Vec::new()), |_| true)
    }

    proptest! {
        #[test]
        fn accepted_urls_have_no_private_address(
            host in prop_oneof![
                any::<String>(),
                "[0-9a-fx.:]{1,24}",
                any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]")),
                any::<u32>().prop_map(|bits| bits.to_string()),
            ],
        ) {
            let Ok(url) = Url::parse(&format!("http://{host}/")) else { return Ok(()) };
            let literal = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let is_private = literal.parse().is_ok_and(|address: IpAddr| !is_public(address));
            prop_assert_eq!(guarded().check(&url).is_err(), is_private, "{}", url);
        }
    }

    #[test]
    fn private_addresses_in_urls_are_refused_in_every_notation() {
        let refused = [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://0x7f000001:80/",
            "http://127.0.0.1./",
            "http://１２７.0.0.1/",
            "http://user:pass@169.254.169.254/latest/meta-data/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "https://[fe80::1]:8443/",
            "https://10.0.0.1:8443/",
        ];
        for text in refused {
            let url = Url::parse(text).expect(text);
            assert!(matches!(guarded().check(&url), Err(Refusal::Address)), "{text}");
            assert_eq!(open().check(&url), Ok(()), "{text}");
        }
        for text in ["http://1.1.1.1/", "https://[2606:4700:4700::1111]/", "http://example.org/"] {
            assert_eq!(guarded().check(&Url::parse(text).expect(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn other_schemes_are_refused() {
        for text in ["ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "data:,x"]
        {
            let url = Url::parse(text).expect(text);
            assert!(matches!(open().check(&url), Err(Refusal::Scheme)), "{text}");
        }
    }

    #[test]
    fn internal_names_are_refused_without_lookup() {
        let url = |host: &str| Url::parse(&format!("http://{host}/")).expect("a URL");
        let guard = guarded().refusing_internal_names();
        for host in ["localhost", "LocalHost.", "postgres", "db.corp", "redis.default.svc"] {
            assert_eq!(guard.check(&url(host)), Err(Refusal::Address), "{host}");
            assert_eq!(open().check(&url(host)), Ok(()), "{host}");
        }
        assert_eq!(guard.check(&url("example.org")), Ok(()));
    }

    struct Fixed(Vec<IpAddr>);

    #[async_trait]
    impl NameResolver for Fixed {
        async fn lookup(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
            Ok(self.0.clone())
        }
    }

    #[tokio::test]
    async fn only_public_addresses_of_a_name_are_used() {
        let [public, private]: [IpAddr; 2] = [[1, 1, 1, 1].into(), [10, 0, 0, 1].into()];
        let mixed = Guard::new(Fixed(vec![private, public]), is_public);
        assert_eq!(mixed.resolve("mixed").await.expect("one"), [(public, 0).into()]);
        let inside = Guard::new(Fixed(vec![private]), is_public);
        let error = inside.resolve("inside").await.expect_err("refused");
        assert_eq!(Refusal::source_of(&*error), Some(&Refusal::Address));
        let nothing = Guard::new(Fixed(Vec::new()), is_public);
        assert_eq!(nothing.resolve("nothing").await.expect("nothing"), []);
    }
}
