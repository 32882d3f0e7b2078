//! The client, and the guard that every connection it makes has to pass.
//!
//! A name is resolved here, its addresses are checked, and the connection goes to exactly
//! those: a name that answers differently the next time gains nothing. Addresses that
//! stand in a URL are never resolved, so they are checked with the URL, each redirect
//! anew.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The client must not go there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0} is not a public address")]
    Address(String),
    #[error("{0} is not http or https")]
    Scheme(String),
    #[error("more than {MAX_REDIRECTS} redirects")]
    Redirects,
}

impl Refused {
    /// The refusal behind an error, if there is one.
    pub fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
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

/// How names become addresses.
#[async_trait]
pub(super) trait Lookup: Send + Sync + 'static {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// As the operating system does it.
pub(super) struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Decides where the client may go.
#[derive(Clone)]
pub(super) struct Guard {
    lookup: Arc<dyn Lookup>,
    allowed: fn(IpAddr) -> bool,
}

impl Guard {
    pub fn new(lookup: impl Lookup, allowed: fn(IpAddr) -> bool) -> Self {
        Self { lookup: Arc::new(lookup), allowed }
    }

    /// Checks what can be told without resolving a name.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme(url.scheme().to_owned()));
        }
        // `Url` has already turned every way to write an IPv4 address into the usual one.
        let host = url.host_str().unwrap_or_default();
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        match literal.parse() {
            Ok(address) if !(self.allowed)(address) => Err(Refused::Address(address.to_string())),
            _ => Ok(()),
        }
    }

    /// The addresses of `name` that the client may go to.
    async fn resolve(&self, name: &str) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
        let found = self.lookup.lookup(name).await?;
        let allowed = found.iter().copied().filter(|address| (self.allowed)(*address));
        // The port is a placeholder that the client replaces by the URL's.
        let allowed: Vec<SocketAddr> = allowed.map(|address| (address, 0).into()).collect();
        if allowed.is_empty() && !found.is_empty() {
            return Err(Refused::Address(name.to_owned()).into());
        }
        Ok(allowed)
    }

    /// A client that goes nowhere else.
    pub fn client(&self) -> reqwest::Result<Client> {
        // It fails where the process has one already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = self.clone();
        Client::builder()
            .user_agent(concat!("miniapp/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(Resolver(self.clone()))
            .redirect(Policy::custom(move |attempt| {
                if attempt.previous().len() > MAX_REDIRECTS {
                    return attempt.error(Refused::Redirects);
                }
                match guard.check(attempt.url()) {
                    Ok(()) => attempt.follow(),
                    Err(refused) => attempt.error(refused),
                }
            }))
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
    use super::*;
    use crate::kinds::http::address::is_public;

    fn guarded() -> Guard {
        Guard::new(SystemLookup, is_public)
    }

    fn open() -> Guard {
        Guard::new(SystemLookup, |_| true)
    }

    #[test]
    fn addresses_in_urls_are_refused_however_they_are_written() {
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
            assert!(matches!(guarded().check(&url), Err(Refused::Address(_))), "{text}");
            assert_eq!(open().check(&url), Ok(()), "{text}");
        }
        for text in ["http://1.1.1.1/", "https://[2606:4700:4700::1111]/", "http://example.org/"] {
            assert_eq!(guarded().check(&Url::parse(text).expect(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn only_http_is_spoken() {
        for text in ["ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "data:,x"]
        {
            let url = Url::parse(text).expect(text);
            assert!(matches!(open().check(&url), Err(Refused::Scheme(_))), "{text}");
        }
    }

    struct Fixed(Vec<IpAddr>);

    #[async_trait]
    impl Lookup for Fixed {
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
        assert_eq!(Refused::behind(&*error), Some(&Refused::Address("inside".into())));
        let nothing = Guard::new(Fixed(Vec::new()), is_public);
        assert_eq!(nothing.resolve("nothing").await.expect("nothing"), []);
    }
}
