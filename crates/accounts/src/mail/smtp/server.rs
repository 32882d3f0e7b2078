//! The mail server of `mail.url`.

use std::fmt;
use std::net::Ipv6Addr;

use anyhow::{Context as _, bail, ensure};
use miniapp_config::EngineUrl;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::tls::TlsSettings;

const SUBMISSION_PORT: u16 = 587;
const SUBMISSIONS_PORT: u16 = 465;

/// A mail server. Its `Display` omits the credentials.
pub(super) struct Server {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub credentials: Option<Credentials>,
}

/// When TLS starts.
pub(super) enum Tls {
    Never,
    /// With STARTTLS, if the server offers it.
    Opportunistic(TlsSettings),
    /// With STARTTLS.
    Required(TlsSettings),
    /// With the connection.
    Implicit(TlsSettings),
}

pub(super) struct Credentials {
    pub user: String,
    pub password: String,
}

impl Server {
    /// Parses `smtp://user:password@host:port`, or `smtps://` for implicit TLS. The default
    /// port is 587 or 465.
    ///
    /// The parameter `tls` sets the use of STARTTLS by `smtp://`: `required` (the default
    /// with a password), `opportunistic` (the default without one) or `none`. `cacertfile`
    /// names a certificate to trust in addition to the system's.
    pub fn parse(url: &EngineUrl) -> anyhow::Result<Self> {
        let shape = || format!("{url} is not like smtp://user:password@host:port");
        // The parser's error is dropped because it may contain the password.
        let read = Url::parse(url.expose()).ok().with_context(shape)?;
        ensure!(matches!(read.path(), "" | "/") && read.fragment().is_none(), shape());
        let host = match read.host().with_context(shape)? {
            Host::Ipv6(address) => address.to_string(),
            host => host.to_string(),
        };
        let credentials = credentials(&read).with_context(shape)?;
        let (mut policy, mut authority) = (None, None);
        for (name, value) in read.query_pairs() {
            match &*name {
                "tls" if read.scheme() == "smtp" => policy = Some(value.into_owned()),
                "cacertfile" => authority = Some(value.into_owned()),
                name => bail!("unknown parameter {name:?} in {url}"),
            }
        }
        let default = if credentials.is_some() { "required" } else { "opportunistic" };
        let settings = || TlsSettings::new(&host, authority.as_deref());
        let tls = match (read.scheme(), policy.as_deref().unwrap_or(default)) {
            ("smtps", _) => Tls::Implicit(settings()?),
            (_, "required") => Tls::Required(settings()?),
            (_, "opportunistic") => Tls::Opportunistic(settings()?),
            (_, "none") => Tls::Never,
            _ => bail!("tls in {url} must be required, opportunistic or none"),
        };
        let default_port =
            if matches!(tls, Tls::Implicit(_)) { SUBMISSIONS_PORT } else { SUBMISSION_PORT };
        Ok(Self { port: read.port().unwrap_or(default_port), host, tls, credentials })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        match host.parse::<Ipv6Addr>() {
            Ok(host) => write!(f, "[{host}]:{port}"),
            Err(_) => write!(f, "{host}:{port}"),
        }
    }
}

fn credentials(url: &Url) -> anyhow::Result<Option<Credentials>> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(String::from);
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) | (_, None) => bail!("user and password go together"),
        (user, Some(password)) => {
            Ok(Some(Credentials { user: decoded(user)?, password: decoded(password)? }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> anyhow::Result<Server> {
        Server::parse(&EngineUrl::new(url))
    }

    fn tls_of(url: &str) -> &'static str {
        match parse(url).expect("a server").tls {
            Tls::Never => "never",
            Tls::Opportunistic(_) => "opportunistic",
            Tls::Required(_) => "required",
            Tls::Implicit(_) => "implicit",
        }
    }

    #[test]
    fn parse_applies_default_ports() {
        for (url, shown) in [
            ("smtp://mail.example", "mail.example:587"),
            ("smtp://mail.example/", "mail.example:587"),
            ("smtps://mail.example", "mail.example:465"),
            ("smtp://me:secret@mail.example:25", "mail.example:25"),
            ("smtp://[::1]:2525?tls=none", "[::1]:2525"),
        ] {
            assert_eq!(parse(url).expect("a server").to_string(), shown, "{url}");
        }
    }

    #[test]
    fn password_requires_tls_by_default() {
        assert_eq!(tls_of("smtp://host"), "opportunistic");
        assert_eq!(tls_of("smtp://me:secret@host"), "required");
        assert_eq!(tls_of("smtp://me:secret@host?tls=none"), "never");
        assert_eq!(tls_of("smtp://host?tls=required"), "required");
        assert_eq!(tls_of("smtps://me:secret@host"), "implicit");
    }

    #[test]
    fn credentials_are_percent_decoded() {
        let server = parse("smtp://ada%40example.com:p%2F%40ss@host").expect("a server");
        let credentials = server.credentials.expect("credentials");
        assert_eq!(
            (credentials.user.as_str(), &*credentials.password),
            ("ada@example.com", "p/@ss")
        );
    }

    #[test]
    fn parse_errors_omit_the_password() {
        for url in [
            "smtp://",
            "smtp://me:secret@",
            "smtp://me:secret@host:port",
            "smtp://secret@host",
            "smtp://me:secret@host/path",
            "smtp://me:secret@host?tls=perhaps",
            "smtps://me:secret@host?tls=none",
            "smtp://me:secret@host?timeout=secret",
            "smtp://me:secret@host?cacertfile=/nowhere/ca.pem",
        ] {
            let error = parse(url).map(|server| server.to_string()).expect_err(url);
            let error = format!("{error:#}");
            let is_plain_user = url.starts_with("smtp://secret");
            assert!(is_plain_user || !error.contains("secret"), "{error}");
        }
    }
}
