//! The service on a real listener.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use miniapp_accounts::mail::InboxMail;
use miniapp_accounts::{Dependencies, open_mailer, open_store};
use miniapp_auth::Auth;
use miniapp_broker::MemoryBroker;
use miniapp_config::Config;
use miniapp_runtime::clock::SystemClock;
use miniapp_runtime::health::{Health, Status};
use miniapp_runtime::shutdown::Shutdown;
use parking_lot::Mutex;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

const TIMEOUT: Duration = Duration::from_secs(20);
const PASSWORD: &str = "correct horse battery";

/// Collects the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Running {
    url: String,
    client: Client,
    mails: broadcast::Receiver<InboxMail>,
}

impl Running {
    async fn post(&self, path: &str, body: Value) -> Response {
        let request = self.client.post(format!("{}{path}", self.url)).json(&body);
        request.send().await.expect("a response")
    }

    async fn json(&self, path: &str, body: Value) -> Value {
        let response = self.post(path, body).await;
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json().await.expect("JSON")
    }

    /// Creates an API key and returns it.
    async fn create_key(&self, token: &Value) -> String {
        let request = self.client.post(format!("{}/api-keys", self.url));
        let request = request.bearer_auth(token.as_str().expect("a token"));
        let body = json!({"name": "a key", "scopes": ["tasks:read"]});
        let created = request.json(&body).send().await.expect("a response");
        assert_eq!(created.status(), 201);
        let created: Value = created.json().await.expect("JSON");
        created["key"].as_str().expect("a key").to_owned()
    }

    /// Waits for the next mail.
    async fn mail(&mut self) -> InboxMail {
        let mail = tokio::time::timeout(TIMEOUT, self.mails.recv()).await.expect("in time");
        mail.expect("a mail")
    }
}

#[tokio::test]
async fn service_runs_until_shutdown_without_logging_secrets() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .init();
    let _ = rustls::crypto::ring::default_provider().install_default();

    let files = tempfile::tempdir().expect("a directory");
    let config = Config::defaults_in(files.path()).expect("a configuration");
    let (broker, clock) = (Arc::new(MemoryBroker::new()), Arc::new(SystemClock));
    let store = open_store(&config.section().expect("a section")).await.expect("a store");
    let (watchers, mails) = broadcast::channel(16);
    let mailer =
        open_mailer(&config.section().expect("a section"), store.clone(), clock.clone(), watchers)
            .expect("a mailer");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (health, shutdown) = (Health::new(), Shutdown::new());
    let service = tokio::spawn({
        let (health, shutdown) = (health.clone(), shutdown.clone());
        let dependencies = Dependencies { service: "auth", store, broker, mailer, clock };
        async move { Auth::open(&config, dependencies, &health).await?.run(listener, shutdown).await }
    });
    let mut service_at = Running { url, client: Client::new(), mails };

    let secrets = use_secrets(&mut service_at).await;
    let report = health.report().await;
    assert_eq!((report.status, report.checks.len()), (Status::Ok, 3));

    shutdown.begin();
    let ended = tokio::time::timeout(TIMEOUT, service).await.expect("in time");
    ended.expect("no panic").expect("a clean end");

    let log = String::from_utf8_lossy(&log.0.lock()).into_owned();
    assert!(log.contains("/sign-in"), "the request was not logged");
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} was logged");
    }
}

#[tokio::test]
async fn missing_mail_server_degrades_health() {
    let files = tempfile::tempdir().expect("a directory");
    let settings = [
        ("MINIAPP__DATA_DIR", files.path().display().to_string()),
        ("MINIAPP__MAIL__URL", "smtp://127.0.0.1:1".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    let config = Config::load_from(None, settings).expect("a configuration");
    let (broker, clock) = (Arc::new(MemoryBroker::new()), Arc::new(SystemClock));
    let store = open_store(&config.section().expect("a section")).await.expect("a store");
    let (watchers, _) = broadcast::channel(1);
    let mailer =
        open_mailer(&config.section().expect("a section"), store.clone(), clock.clone(), watchers)
            .expect("a mailer");
    let health = Health::new();
    let dependencies = Dependencies { service: "auth", store, broker, mailer, clock };
    Auth::open(&config, dependencies, &health).await.expect("a service");
    let report = health.report().await;
    assert_eq!(report.status, Status::Degraded);
    let bad = report.checks.iter().filter(|check| check.status != Status::Ok);
    assert_eq!(bad.map(|check| check.name).collect::<Vec<_>>(), ["mail"]);
}

/// Uses every endpoint that handles secrets, and returns the secrets.
async fn use_secrets(service: &mut Running) -> Vec<String> {
    let email = "ada@example.com";
    service.json("/send-verification-code", json!({ "email": email })).await;
    let code = service.mail().await.mail.code().expect("a code").to_owned();
    let verified = service.json("/verify-email", json!({"email": email, "code": code})).await;
    let registration = verified["registrationToken"].clone();
    let account = json!({
        "email": email,
        "login": "ada",
        "password": PASSWORD,
        "registrationToken": registration,
    });
    service.json("/register", account).await;
    let wrong = "an entirely wrong password";
    let rejected = service.post("/sign-in", json!({"login": "ada", "password": wrong})).await;
    assert_eq!(rejected.status(), 401);
    let first = service.json("/sign-in", json!({"login": "ada", "password": PASSWORD})).await;
    let second = service.json("/refresh", json!({"refreshToken": first["refreshToken"]})).await;
    service.json("/validate", json!(second["authToken"])).await;
    let key = service.create_key(&second["authToken"]).await;
    service.json("/validate", json!(key)).await;
    let damaged = service.post("/validate", json!(format!("{key}x"))).await;
    assert_eq!(damaged.status(), 400);
    // The successor is used, so the answer was not lost.
    let third = service.json("/refresh", json!({"refreshToken": second["refreshToken"]})).await;
    let reused = service.post("/refresh", json!({"refreshToken": first["refreshToken"]})).await;
    assert_eq!(reused.status(), 401);
    assert_eq!(service.mail().await.mail.code(), None);
    service.json("/password-reset", json!({ "email": email })).await;
    let reset = service.mail().await.mail.code().expect("a code").to_owned();
    let new = "another horse altogether";
    let body = json!({"email": email, "code": reset, "newPassword": new});
    assert_eq!(service.post("/password-reset/confirm", body).await.status(), 204);
    let docs = service.client.get(format!("{}/openapi.json", service.url)).send();
    let docs: Bytes = docs.await.expect("a response").bytes().await.expect("a body");
    assert!(!docs.is_empty());

    let registration_token = &registration;
    let tokens =
        [&first, &second, &third].map(|tokens| [&tokens["authToken"], &tokens["refreshToken"]]);
    let tokens = tokens.iter().flatten().chain([&registration_token]);
    let tokens = tokens.filter_map(|token| token.as_str()).map(str::to_owned);
    let texts = [PASSWORD, wrong, new].map(str::to_owned);
    // Six digits may be a part of another number, so a code needs a character before it.
    let codes = [code, reset]
        .into_iter()
        .flat_map(|code| ["\"", " ", "=", ":"].map(|before| format!("{before}{code}")));
    tokens.chain(texts).chain(codes).chain([key]).collect()
}
