//! The service in process, with a manual clock.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Request};
use miniapp_accounts::mail::{InboxMail, Mail};
use miniapp_accounts::{Accounts, Caller, Dependencies, Store, open_mailer, open_store};
use miniapp_broker::{Broker, MemoryBroker, Received, Subscription, Topic};
use miniapp_config::Config;
use miniapp_http::Peer;
use miniapp_runtime::clock::ManualClock;
use miniapp_test_support::openapi::{Document, RealAnswer};
use miniapp_types::account::{NewApiKey, Secret, Tokens};
use miniapp_types::message::SessionChanged;
use miniapp_types::problem::Problem;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{broadcast, oneshot};
use tower::ServiceExt as _;
use uuid::Uuid;

/// The password of every account.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A running service.
pub(crate) struct App {
    pub accounts: Accounts,
    pub broker: Arc<MemoryBroker>,
    pub clock: Arc<ManualClock>,
    router: Router,
    store: Arc<dyn Store>,
    /// Removed with the value.
    _files: TempDir,
}

/// An API key.
#[derive(Clone, Debug)]
pub(crate) struct ApiKey {
    pub text: String,
    pub id: Uuid,
}

/// The tokens of a session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub access: String,
    pub refresh: String,
    pub id: Uuid,
}

impl App {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let directory = files.path().display().to_string();
        let settings = settings.iter().copied().chain([
            ("MINIAPP__DATA_DIR", directory.as_str()),
            ("MINIAPP__DATABASE__SYNCHRONOUS", "normal"),
        ]);
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::load_from(None, settings).expect("a configuration");
        let (broker, clock) = (Arc::new(MemoryBroker::new()), Arc::new(ManualClock::default()));
        let store = open_store(&config.section().expect("a section")).await.expect("a store");
        let (watchers, _) = broadcast::channel(1);
        let mail = config.section().expect("a section");
        let mailer = open_mailer(&mail, store.clone(), clock.clone(), watchers).expect("a mailer");
        let dependencies = Dependencies {
            service: "auth",
            store: store.clone(),
            broker: broker.clone(),
            mailer,
            clock: clock.clone(),
        };
        let accounts = Accounts::open(&config, dependencies).await.expect("accounts");
        let router = crate::service::router(&accounts, &config).expect("a router");
        Self { accounts, broker, clock, router, store, _files: files }
    }

    pub async fn send_request(&self, request: Request<Body>) -> TestResponse {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        let response = TestResponse {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.into(),
        };
        response.assert_described(method.as_str(), &path);
        response
    }

    /// Sends a request with an optional token and JSON body.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> TestResponse {
        let mut request = Request::builder().method(method).uri(path).header(USER_AGENT, "tests");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        self.send_request(request.body(body).expect("a request")).await
    }

    /// Sends a request whose body arrives only after `delay`, which starts when the service waits
    /// for the body.
    pub async fn send_delayed(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: &Value,
        delay: impl Future<Output = ()>,
    ) -> TestResponse {
        let ((waiting, waits), (arrive, arrived)) = (oneshot::channel(), oneshot::channel());
        let bytes = body.to_string();
        let body = Body::from_stream(stream::once(async move {
            waiting.send(()).expect("a running test");
            arrived.await.map(|()| bytes)
        }));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let response = self.send_request(request.expect("a request"));
        let delay = async {
            waits.await.expect("a service that waits for the body");
            delay.await;
            arrive.send(()).expect("a service that waits for the body");
        };
        tokio::join!(response, delay).0
    }

    pub async fn post(&self, path: &str, body: Value) -> TestResponse {
        self.send("POST", path, None, Some(body)).await
    }

    pub async fn post_from(
        &self,
        peer: impl Into<IpAddr>,
        path: &str,
        body: Value,
    ) -> TestResponse {
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            .extension(Peer(SocketAddr::new(peer.into(), 1234)));
        self.send_request(request.body(Body::from(body.to_string())).expect("a request")).await
    }

    pub async fn put(&self, path: &str, token: &str, body: Value) -> TestResponse {
        self.send("PUT", path, Some(token), Some(body)).await
    }

    pub async fn get(&self, path: &str, token: &str) -> TestResponse {
        self.send("GET", path, Some(token), None).await
    }

    /// Delivers all outbox messages.
    pub async fn deliver(&self) {
        while self.accounts.relay().run_once().await.expect("a store that works") > 0 {}
    }

    /// Returns all mails, newest first.
    pub async fn mails(&self) -> Vec<Mail> {
        self.deliver().await;
        let kept = self.store.inbox_mails(1000).await.expect("mails");
        kept.into_iter().map(|InboxMail { mail, .. }| mail).collect()
    }

    /// Returns the newest mail to an address.
    pub async fn mail_to(&self, address: &str) -> Mail {
        self.mails().await.into_iter().find(|mail| mail.to == address).expect("a mail")
    }

    /// Requests a verification code and returns it.
    pub async fn code_for(&self, address: &str) -> String {
        let sent = self.post("/send-verification-code", json!({ "email": address })).await;
        assert_eq!(sent.status, 202, "{sent:?}");
        self.mail_to(address).await.code().expect("a code").to_owned()
    }

    /// Verifies an address and returns the token for its registration.
    pub async fn verify(&self, address: &str) -> String {
        let body = json!({"email": address, "code": self.code_for(address).await});
        let verified = self.post("/verify-email", body).await;
        assert_eq!(verified.status, 200, "{verified:?}");
        verified.json()["registrationToken"].as_str().expect("a token").to_owned()
    }

    /// Registers a login with the address `LOGIN@example.com`.
    pub async fn register(&self, login: &str) -> Value {
        let email = format!("{}@example.com", login.to_lowercase());
        self.register_at(login, &email).await
    }

    /// Registers a login with an address that is verified as typed and registered in lower case.
    pub async fn register_at(&self, login: &str, address: &str) -> Value {
        let email = address.to_lowercase();
        let token = self.verify(address).await;
        let body = json!({
            "login": login,
            "email": email,
            "password": PASSWORD,
            "registrationToken": token,
        });
        let made = self.post("/register", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()
    }

    /// Signs in with the usual password.
    pub async fn sign_in(&self, login: &str) -> Session {
        self.sign_in_as(login, "default").await
    }

    /// Signs in as another client, whose session does not end others.
    pub async fn sign_in_as(&self, login: &str, client: &str) -> Session {
        let body = json!({"login": login, "password": PASSWORD, "client": client});
        self.session(&self.post("/sign-in", body).await).await
    }

    pub async fn refresh(&self, session: &Session) -> Session {
        let body = json!({"refreshToken": session.refresh});
        self.session(&self.post("/refresh", body).await).await
    }

    async fn session(&self, response: &TestResponse) -> Session {
        assert_eq!(response.status, 200, "{response:?}");
        let Tokens { auth_token, refresh_token, .. } = response.read();
        let text = |secret: Secret| secret.expose().to_owned();
        let (access, refresh) = (text(auth_token), text(refresh_token));
        let info =
            self.accounts.introspect(&access, &Caller::default()).await.expect("a valid token");
        Session { access, refresh, id: info.session_id.expect("a session") }
    }

    /// Creates an API key.
    pub async fn create_key(&self, token: &str, scopes: &[&str]) -> ApiKey {
        let body = json!({"name": "a key", "scopes": scopes});
        let created = self.send("POST", "/api-keys", Some(token), Some(body)).await;
        assert_eq!(created.status, 201, "{created:?}");
        let NewApiKey { api_key, key } = created.read();
        ApiKey { text: key.expose().to_owned(), id: api_key.id }
    }

    /// Subscribes to session events.
    pub async fn subscribe(&self, topic: Topic) -> SessionEvents {
        SessionEvents(self.broker.subscribe(topic).await.expect("a subscription"))
    }
}

/// Session events.
pub(crate) struct SessionEvents(Box<dyn Subscription>);

impl SessionEvents {
    /// Returns the next session and its epoch, `None` if it has ended.
    pub async fn next(&mut self) -> (Uuid, Option<u32>) {
        match self.0.next().await.expect("an event") {
            Received::Message(message) => {
                let SessionChanged::V1 { session_id, epoch, .. } =
                    message.decode().expect("a change");
                (session_id, epoch)
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl TestResponse {
    /// Checks the response against the OpenAPI document. Every test request does.
    fn assert_described(&self, method: &str, path: &str) {
        static DOCUMENT: LazyLock<Document> =
            LazyLock::new(|| Document::new(serde_json::to_value(crate::openapi()).expect("JSON")));
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.to_str()));
        let headers: Vec<_> =
            headers.filter_map(|(name, value)| Some((name, value.ok()?))).collect();
        let body = String::from_utf8_lossy(&self.body);
        let answer = RealAnswer { status: self.status, headers: &headers, body: &body };
        let differences = DOCUMENT.differences(method, path, answer);
        assert!(differences.is_empty(), "{method} {path}: {differences:#?}");
    }

    pub fn json(&self) -> Value {
        self.read()
    }

    pub fn read<T: serde::de::DeserializeOwned>(&self) -> T {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    #[track_caller]
    pub fn is(&self, status: u16, body: Value) {
        assert_eq!((self.status, self.json()), (status, body));
    }

    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) -> Problem {
        let problem: Problem = self.read();
        assert_eq!((self.status, problem.code.to_string().as_str()), (status, code), "{problem:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(
            (problem.status, problem.trace_id.as_str()),
            (status, self.header("x-trace-id"))
        );
        let needs_wait = matches!(status, 429 | 503);
        assert_eq!(!self.header("retry-after").is_empty(), needs_wait, "{problem:?}");
        problem
    }

    #[track_caller]
    pub fn has_errors(&self, fields: &[&str]) {
        let problem = self.is_problem(422, "invalid_fields");
        let found: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(found, fields, "{problem:?}");
    }
}
