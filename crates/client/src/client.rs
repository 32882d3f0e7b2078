//! [`Client`]: sends requests, adds the API key or the access token, and refreshes the latter.

use std::sync::Arc;
use std::time::Duration;

use miniapp_types::account::Secret;
use miniapp_types::problem::{Code, Problem};
use reqwest::header::{AUTHORIZATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use crate::{Error, Session, SessionStore, UnknownProblem};

/// Limit for a response; for an event stream, for its headers.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Client of one MiniApp platform.
///
/// Clones share the connection pool, the session and the API key.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    api: Url,
    auth: Url,
    name: Option<String>,
    sessions: Box<dyn SessionStore>,
    api_key: Option<Secret>,
}

impl Client {
    pub(crate) fn new(
        http: reqwest::Client,
        api: Url,
        auth: Url,
        name: Option<String>,
        sessions: Box<dyn SessionStore>,
        api_key: Option<Secret>,
    ) -> Self {
        Self { inner: Arc::new(Inner { http, api, auth, name, sessions, api_key }) }
    }

    /// Returns the base URL of the API.
    pub fn api_url(&self) -> &Url {
        &self.inner.api
    }

    /// Returns the base URL of the auth service.
    pub fn auth_url(&self) -> &Url {
        &self.inner.auth
    }

    /// Returns the current session, if the client is signed in.
    pub fn session(&self) -> Option<Session> {
        self.inner.sessions.load()
    }

    /// Returns the name under which the client signs in.
    pub(crate) fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }

    /// Returns the API key, if there is one.
    pub fn api_key(&self) -> Option<&Secret> {
        self.inner.api_key.as_ref()
    }

    pub(crate) fn sessions(&self) -> &dyn SessionStore {
        &*self.inner.sessions
    }

    pub(crate) fn not_signed_in(&self) -> Error {
        Error::NotSignedIn(Box::new(self.api_url().clone()))
    }

    pub(crate) fn api(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.inner.http.request(method, join(&self.inner.api, path));
        match self.api_key() {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    pub(crate) fn auth(&self, method: Method, path: &str) -> RequestBuilder {
        self.inner.http.request(method, join(&self.inner.auth, path))
    }

    /// Sends an authenticated request and parses the JSON response.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Error> {
        parse(self.send_authenticated(request.timeout(RESPONSE_TIMEOUT)).await?).await
    }

    /// Sends an authenticated request whose response has no body.
    pub(crate) async fn empty(&self, request: RequestBuilder) -> Result<(), Error> {
        self.send_authenticated(request.timeout(RESPONSE_TIMEOUT)).await.map(drop)
    }

    /// Sends a request without a token, which has a timeout, and parses the JSON response.
    pub(crate) async fn public_json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Error> {
        parse(self.send(request).await?).await
    }

    /// Sends `request`, with the access token unless it has the API key. If the token is no longer
    /// valid, refreshes it and sends the request once more. The server decides about expiry, not
    /// the local clock.
    pub(crate) async fn send_authenticated(
        &self,
        request: RequestBuilder,
    ) -> Result<Response, Error> {
        let (http, request) = request.build_split();
        let request = request.map_err(|error| Error::from_transport(self.api_url(), error))?;
        let has_key = request.headers().contains_key(AUTHORIZATION);
        let request = RequestBuilder::from_parts(http, request);
        if has_key {
            return self.send(request).await;
        }
        let session = self.session().ok_or_else(|| self.not_signed_in())?;
        let retry = request.try_clone();
        let result = self.send(request.bearer_auth(session.access_token.expose())).await;
        match (result, retry) {
            (Err(error), Some(retry))
                if matches!(error.code(), Some(Code::TokenExpired | Code::TokenRevoked)) =>
            {
                let fresh = self.newer_session(&session, error).await?;
                self.send(retry.bearer_auth(fresh.access_token.expose())).await
            }
            (result, _) => result,
        }
    }

    /// Returns a session with newer tokens than `used`, which the server rejected with
    /// `error`. Another client may have refreshed the session already.
    ///
    /// A revoked token may belong to an active session: the answer to a refresh was lost, or the
    /// roles of the account were changed.
    async fn newer_session(&self, used: &Session, error: Error) -> Result<Session, Error> {
        let _lock = self.sessions().lock().await.map_err(Error::SessionStore)?;
        let stored = self.session().ok_or_else(|| self.not_signed_in())?;
        if stored.access_token != used.access_token {
            return Ok(stored);
        }
        match self.refresh_session(&stored).await {
            Err(ended) if ended.code() == Some(Code::TokenRevoked) => Err(error),
            refreshed => refreshed,
        }
    }

    /// Sends `request` as it is. Responses other than success become errors.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let (http, request) = request.build_split();
        let request = request.map_err(|error| Error::from_transport(self.api_url(), error))?;
        let url = request.url().clone();
        let response =
            http.execute(request).await.map_err(|error| Error::from_transport(&url, error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = response.bytes().await.unwrap_or_default();
        if let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
            return Err(Error::Problem { problem: Box::new(problem), retry_after });
        }
        Err(match serde_json::from_slice::<UnknownProblem>(&body) {
            Ok(problem) => Error::UnknownProblem(Box::new(problem)),
            Err(_) => Error::unexpected(&url, status),
        })
    }
}

async fn parse<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let (url, status) = (response.url().clone(), response.status());
    response.json().await.map_err(|error| {
        if error.is_decode() {
            Error::unexpected(&url, status)
        } else {
            Error::from_transport(&url, error)
        }
    })
}

/// Appends `path` to `base`, which may have a path itself.
fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let joined = format!("{}/{path}", base.path().trim_end_matches('/'));
    url.set_path(&joined);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_keeps_the_path_of_the_base() {
        let join = |base, path| join(&Url::parse(base).expect("a URL"), path).to_string();
        assert_eq!(join("http://h:1", "api/tasks"), "http://h:1/api/tasks");
        assert_eq!(join("http://h/m/", "api/tasks"), "http://h/m/api/tasks");
    }
}
