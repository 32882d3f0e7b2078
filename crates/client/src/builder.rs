//! Construction of a [`Client`].

use std::time::Duration;

use miniapp_types::account::Secret;
use reqwest::{IntoUrl, Url};
use rustls::crypto::{CryptoProvider, ring};

use crate::{Client, Error, MemoryStore, SessionStore};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence on a connection. Event streams send a comment more often than this.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Builder of a [`Client`], created by [`Client::builder`].
#[derive(Debug)]
pub struct ClientBuilder {
    api: reqwest::Result<Url>,
    auth: Option<reqwest::Result<Url>>,
    user_agent: String,
    client_name: Option<String>,
    sessions: Box<dyn SessionStore>,
    api_key: Option<Secret>,
}

impl Client {
    /// Returns a builder for a client of the platform whose API is at `api`.
    pub fn builder(api: impl IntoUrl) -> ClientBuilder {
        ClientBuilder {
            api: api.into_url(),
            auth: None,
            user_agent: concat!("miniapp-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            client_name: None,
            sessions: Box::new(MemoryStore::default()),
            api_key: None,
        }
    }
}

impl ClientBuilder {
    /// Sets the base URL of the auth service.
    ///
    /// Default: port 8005 on the same host if the API is on port 8000, otherwise the URL
    /// of the API, as behind an ingress.
    #[must_use]
    pub fn auth_url(self, url: impl IntoUrl) -> Self {
        Self { auth: Some(url.into_url()), ..self }
    }

    /// Sets the `User-Agent` header.
    #[must_use]
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        Self { user_agent: user_agent.into(), ..self }
    }

    /// Sets the name under which the client signs in, 1 to 64 visible ASCII characters. An account
    /// has one session for each name: a sign-in ends the previous one. Default: `default`.
    #[must_use]
    pub fn client_name(self, name: impl Into<String>) -> Self {
        Self { client_name: Some(name.into()), ..self }
    }

    /// Sets where the session's tokens are stored. Default: in memory.
    #[must_use]
    pub fn session_store(self, sessions: impl SessionStore + 'static) -> Self {
        Self { sessions: Box::new(sessions), ..self }
    }

    /// Sets an API key, which authenticates requests to the API. Requests to the auth service use
    /// the session.
    #[must_use]
    pub fn api_key(self, key: Secret) -> Self {
        Self { api_key: Some(key), ..self }
    }

    /// Builds the client. Fails if a URL is invalid or TLS cannot be initialized.
    ///
    /// Installs ring as the process's rustls provider if none is installed.
    pub fn build(self) -> Result<Client, Error> {
        if CryptoProvider::get_default().is_none() {
            // Fails only if another thread installs one at the same time.
            let _ = ring::default_provider().install_default();
        }
        let api = self.api.map_err(Error::Build)?;
        let auth = match self.auth {
            Some(auth) => auth.map_err(Error::Build)?,
            None => default_auth_url(&api),
        };
        let http = reqwest::Client::builder()
            .user_agent(self.user_agent)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Build)?;
        Ok(Client::new(http, api, auth, self.client_name, self.sessions, self.api_key))
    }
}

fn default_auth_url(api: &Url) -> Url {
    let mut auth = api.clone();
    if api.port() == Some(8000) {
        // Fails only for URLs without a host, and this one has a port.
        let _ = auth.set_port(Some(8005));
    }
    auth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auth_url_defaults_to_port_8005_or_the_api() {
        let cases = [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8005/"),
            ("https://miniapp.example", "https://miniapp.example/"),
        ];
        for (api, expected) in cases {
            let client = Client::builder(api).build().expect("a client");
            assert_eq!(client.auth_url().as_str(), expected);
        }
        let client = Client::builder("http://h:9100").auth_url("http://h:9200").build();
        assert_eq!(client.expect("a client").auth_url().as_str(), "http://h:9200/");
    }

    #[test]
    fn build_rejects_invalid_url() {
        assert!(matches!(Client::builder("no-url").build(), Err(Error::Build(_))));
    }
}
