//! The platform as seen over HTTP, the way any client sees it.

mod accounts;
mod error;
mod events;
mod patience;
mod session;
mod sse;
mod tasks;

use std::time::Duration;

use miniapp_types::problem::{Code, Problem};
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

pub use error::ClientError;
pub use events::EventStream;
pub use patience::patiently;
pub use session::{Session, SessionStore, directory as session_directory};
pub use sse::SseParser;
pub use tasks::{Submission, TaskQuery};

/// No answer of the platform takes this long; of a stream, this means its beginning.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Where a platform is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The API's base.
    pub api: Url,
    /// The auth service's base.
    pub auth: Url,
}

impl Endpoints {
    /// The API at `api`; auth at `auth`, or where it usually is: on port 8005 beside an
    /// API on port 8000, otherwise at the same address, as behind an ingress.
    pub fn new(api: Url, auth: Option<Url>) -> Self {
        let auth = auth.unwrap_or_else(|| {
            let mut auth = api.clone();
            if api.port() == Some(8000) {
                // Fails only for addresses without a host, and this one has a port.
                let _ = auth.set_port(Some(8005));
            }
            auth
        });
        Self { api, auth }
    }
}

/// A connection pool to one platform, and who is signed in there.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoints: Endpoints,
    sessions: SessionStore,
}

impl Client {
    /// A client of the platform at `endpoints` for whom `sessions` holds.
    pub fn new(endpoints: Endpoints, sessions: SessionStore) -> anyhow::Result<Self> {
        let agent = concat!("miniapp/", env!("CARGO_PKG_VERSION"));
        let http = reqwest::Client::builder()
            .user_agent(agent)
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, endpoints, sessions })
    }

    /// Where the platform is.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Who is signed in.
    pub fn session(&self) -> Option<Session> {
        self.sessions.current()
    }

    /// A request to the API.
    fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, at(&self.endpoints.api, path))
    }

    /// A request to auth.
    fn auth(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, at(&self.endpoints.auth, path))
    }

    /// Sends `request` with the session's access token. A token that is too old is
    /// renewed, whose age only the platform knows for sure.
    async fn signed(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let session = self.session().ok_or_else(|| self.signed_out())?;
        let again = request.try_clone();
        let answer = self.open(request.bearer_auth(session.access.expose())).await;
        match (answer, again) {
            (Err(refusal), Some(again))
                if matches!(refusal.code(), Some(Code::TokenExpired | Code::TokenRevoked)) =>
            {
                let renewed = self.renewed(&session, refusal).await?;
                self.open(again.bearer_auth(renewed.access.expose())).await
            }
            (answer, _) => answer,
        }
    }

    /// The session with newer tokens than `used`, or why there are none.
    async fn renewed(&self, used: &Session, refusal: ClientError) -> Result<Session, ClientError> {
        let _turn = self.sessions.turn().await?;
        let held = self.session().ok_or_else(|| self.signed_out())?;
        if held.access != used.access {
            return Ok(held);
        }
        if refusal.code() != Some(Code::TokenExpired) {
            return Err(refusal);
        }
        self.refresh(&held).await
    }

    fn signed_out(&self) -> ClientError {
        ClientError::SignedOut(Box::new(self.endpoints.api.clone()))
    }

    /// Sends `request` as it is; answers other than success become errors.
    async fn open(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let (http, request) = request.build_split();
        // Only malformed addresses fail here, and these are made of parsed ones.
        let request = request.map_err(|error| self.unsent(&error))?;
        let url = request.url().clone();
        let answer = http
            .execute(request)
            .await
            .map_err(|error| ClientError::from_transport(&url, &error))?;
        let status = answer.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let retry_after =
            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match answer.json::<Problem>().await {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem), retry_after)),
            Err(_) => Err(ClientError::Stranger { url: Box::new(url), status: status.as_u16() }),
        }
    }

    fn unsent(&self, error: &reqwest::Error) -> ClientError {
        ClientError::from_transport(&self.endpoints.api, error)
    }

    /// Sends `request` signed and reads the JSON of the answer.
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        read(self.signed(request.timeout(ANSWER_LIMIT)).await?).await
    }

    /// Sends `request` signed, for an answer without a body.
    async fn tell(&self, request: RequestBuilder) -> Result<(), ClientError> {
        self.signed(request.timeout(ANSWER_LIMIT)).await.map(drop)
    }

    /// Sends `request` without a token and reads the JSON of the answer.
    async fn ask_openly<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        read(self.open(request.timeout(ANSWER_LIMIT)).await?).await
    }
}

/// Reads a successful answer.
async fn read<T: DeserializeOwned>(answer: Response) -> Result<T, ClientError> {
    let (url, status) = (answer.url().clone(), answer.status().as_u16());
    answer.json().await.map_err(|error| {
        if error.is_decode() {
            ClientError::Stranger { url: Box::new(url), status }
        } else {
            ClientError::from_transport(&url, &error)
        }
    })
}

/// `path` below `base`, which may have a path of its own.
fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let joined = format!("{}/{path}", base.path().trim_end_matches('/'));
    url.set_path(&joined);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn auth_is_where_one_would_look() {
        let cases = [
            ("http://127.0.0.1:8000", None, "http://127.0.0.1:8005/"),
            ("https://miniapp.example", None, "https://miniapp.example/"),
            ("http://h:9100", Some("http://h:9200"), "http://h:9200/"),
        ];
        for (api, auth, expected) in cases {
            assert_eq!(Endpoints::new(url(api), auth.map(url)).auth.as_str(), expected);
        }
    }

    #[test]
    fn paths_go_below_the_base() {
        assert_eq!(at(&url("http://h:1"), "api/tasks").as_str(), "http://h:1/api/tasks");
        assert_eq!(at(&url("http://h/m/"), "api/tasks").as_str(), "http://h/m/api/tasks");
    }
}
