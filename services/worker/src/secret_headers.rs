//! Headers of `http` tasks whose values only the operator knows.

use miniapp_kind::KindError;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Request, Url};

/// The configured headers. Their values are marked as sensitive.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecretHeaders {
    headers: Vec<SecretHeader>,
    /// Whether they are also sent without TLS.
    allows_http: bool,
}

#[derive(Clone, Debug)]
struct SecretHeader {
    name: String,
    hosts: Vec<Host>,
    header: HeaderName,
    value: HeaderValue,
}

#[derive(Clone, Debug)]
struct Host {
    name: String,
    /// `None` is the port of the scheme.
    port: Option<u16>,
}

impl SecretHeaders {
    /// Parses lines of the form `NAME HOST,HOST HEADER: VALUE`. An error does not contain the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let headers = lines.map(|(number, line)| {
            let form = format!("line {number} is not of the form NAME HOST,HOST HEADER: VALUE");
            SecretHeader::parse(line).ok_or(form)
        });
        Ok(Self { headers: headers.collect::<Result<_, _>>()?, allows_http: false })
    }

    /// Also sends the headers without TLS, for development.
    pub fn allowing_http(self, allows_http: bool) -> Self {
        Self { allows_http, ..self }
    }

    /// Fails unless every header of `names` may be sent to `url`. The error is the same for a name
    /// that does not exist.
    pub fn check(&self, names: &[String], url: &Url) -> Result<(), KindError> {
        match names.iter().find(|name| self.find(name, url).is_none()) {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                let message = format!("secretHeaders: {name:?} is not configured for this host");
                Err(KindError::permanent("secret_refused", message))
            }
        }
    }

    /// Adds those headers of `names` that may be sent to the URL of `request`.
    pub fn add_to(&self, request: &mut Request, names: &[String]) {
        let found = names.iter().filter_map(|name| self.find(name, request.url()));
        let found: HeaderMap = found.map(|it| (it.header.clone(), it.value.clone())).collect();
        request.headers_mut().extend(found);
    }

    fn find(&self, name: &str, url: &Url) -> Option<&SecretHeader> {
        let is_encrypted = url.scheme() == "https" || self.allows_http;
        let matches = |header: &&SecretHeader| {
            header.name == name && header.hosts.iter().any(|host| host.is_of(url))
        };
        self.headers.iter().find(matches).filter(|_| is_encrypted)
    }
}

impl SecretHeader {
    fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        let (hosts, field) = rest.trim_start().split_once(char::is_whitespace)?;
        let (header, value) = field.split_once(':')?;
        let mut value: HeaderValue = value.trim().parse().ok()?;
        value.set_sensitive(true);
        let hosts = hosts.split(',').map(Host::parse).collect::<Option<_>>()?;
        Some(Self { name: name.to_owned(), hosts, header: header.trim().parse().ok()?, value })
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        // A URL normalizes the name.
        let url = Url::parse(&format!("x-host://{text}")).ok()?;
        let is_bare = url.path().is_empty() && url.username().is_empty() && url.query().is_none();
        let name = url.host_str().filter(|_| is_bare)?.to_lowercase();
        Some(Self { name, port: url.port() })
    }

    fn is_of(&self, url: &Url) -> bool {
        let default = if url.scheme() == "http" { 80 } else { 443 };
        url.host_str() == Some(self.name.as_str())
            && url.port_or_known_default() == Some(self.port.unwrap_or(default))
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;

    const LINES: &str = "
        # of the accounting department
        billing  api.example.com,api.example.org:8443  Authorization: Bearer s3cr3t:x
        reports  API.example.com  X-Api-Key: t0ken
    ";

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn headers_are_sent_to_their_hosts_only() {
        let secrets = SecretHeaders::parse(LINES).expect("valid");
        for to in [
            "https://api.example.com/x",
            "https://API.example.com:443/",
            "https://api.example.org:8443/",
        ] {
            assert_eq!(secrets.check(&names(&["billing"]), &url(to)), Ok(()), "{to}");
            let mut request = Request::new(Method::GET, url(to));
            secrets.add_to(&mut request, &names(&["billing"]));
            assert_eq!(request.headers()["authorization"], "Bearer s3cr3t:x");
            assert!(!format!("{request:?} {secrets:?}").contains("s3cr3t"));
        }
        for to in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.org/",
            "https://example.com/",
            "https://api.example.com.evil.example/",
            "https://api.example.com@evil.example/",
        ] {
            let error = secrets.check(&names(&["billing"]), &url(to)).expect_err(to);
            assert_eq!(error.code(), Some("secret_refused"), "{to}");
            let mut request = Request::new(Method::GET, url(to));
            secrets.add_to(&mut request, &names(&["billing"]));
            assert!(request.headers().is_empty(), "{to}");
        }
        let all = names(&["billing", "reports"]);
        assert_eq!(secrets.check(&all, &url("https://api.example.com/")), Ok(()));
        assert!(secrets.check(&all, &url("https://api.example.org:8443/")).is_err());
    }

    #[test]
    fn unknown_names_are_refused_alike() {
        let secrets = SecretHeaders::parse(LINES).expect("valid");
        let message = |name: &str| {
            let error = secrets.check(&names(&[name]), &url("https://example.net/"));
            error.expect_err("refused").to_string().replace(name, "")
        };
        assert_eq!(message("billing"), message("nobody"));
    }

    #[test]
    fn errors_do_not_contain_the_line() {
        for line in [
            "billing",
            "billing a.example",
            "a b.example/x S: t0p",
            "a b h h: t0p\u{1}",
            "a , H: t0p",
        ] {
            let error = SecretHeaders::parse(&format!("\n{line}")).expect_err(line);
            assert!(error.starts_with("line 2 ") && !error.contains("t0p"), "{error}");
        }
        assert!(SecretHeaders::parse("").expect("none").headers.is_empty());
    }
}
