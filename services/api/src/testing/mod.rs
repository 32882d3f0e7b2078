//! Test fixtures: the service with a store, an in-process broker and a fake auth service.

mod answer;
pub(crate) mod auth;
pub(crate) mod documentation;
mod events;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use jiff::SignedDuration;
use miniapp_broker::{Broker, MemoryBroker};
use miniapp_config::{Database, EngineUrl, Synchronous};
use miniapp_http::RouterOptions;
use miniapp_runtime::clock::ManualClock;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::{Claim, Retention, Runtime, Tasks, open_engine};
use miniapp_types::message::TaskReady;
use miniapp_types::name::QueueName;
use miniapp_types::task::{Kind, TaskError};
use parking_lot::Mutex;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use uuid::Uuid;

pub(crate) use answer::Answer;
pub(crate) use auth::{FakeAuth, Token};
pub(crate) use events::Events;

use crate::config::StreamConfig;
use crate::service;
use crate::state::Api;
use crate::token::TokenVerifier;

/// Limits of the streams of a [`Platform`].
pub(crate) const STREAMS: u32 = 40;
pub(crate) const STREAMS_PER_ACCOUNT: u32 = 30;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
const LEASE: Duration = Duration::from_secs(15);

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("timed out: {what}"));
}

/// Advances the timers by `duration` without waiting. The manual clock stays the same.
pub(crate) async fn skip(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// The service with its dependencies.
pub(crate) struct Platform {
    pub api: Api,
    pub tasks: Tasks,
    pub broker: Arc<MemoryBroker>,
    pub auth: FakeAuth,
    pub clock: Arc<ManualClock>,
    router: Router,
    files: TempDir,
    maintenance: Shutdown,
    background: Mutex<JoinSet<()>>,
}

impl Platform {
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let files = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(ManualClock::default());
        let broker = Arc::new(MemoryBroker::new());
        let engine = open_engine(&database(&files)).await.expect("a store");
        let stop = Shutdown::new();
        let forever = SignedDuration::from_hours(24);
        let retention = Retention { ended: forever, removed: forever };
        let runtime = Runtime::new(engine, clock.clone(), broker.clone(), retention, LEASE);
        let tasks = runtime.tasks().clone();
        tokio::spawn(runtime.run_until(stop.clone()));
        let auth = FakeAuth::start(clock.clone(), broker.clone()).await;
        let verifier = TokenVerifier::new(auth.url(), clock.clone()).expect("a client");
        let streams = StreamConfig { streams: STREAMS, streams_per_account: STREAMS_PER_ACCOUNT };
        let lease = SignedDuration::try_from(LEASE).expect("a short lease");
        let kind = Some("simulate".to_owned());
        let api = Api::new(tasks.clone(), verifier, clock.clone(), streams, false, lease, kind);
        let router = service::router(api.clone(), &RouterOptions::default()).expect("a router");
        let port: Arc<dyn Broker> = broker.clone();
        let background = service::spawn_background(&api, &port, false, &stop);
        let maintenance = stop;
        Self {
            api,
            tasks,
            broker,
            auth,
            clock,
            router,
            files,
            maintenance,
            background: Mutex::new(background),
        }
    }

    /// Stops the tasks that receive messages.
    pub async fn stop_background(&self) {
        let mut background = std::mem::take(&mut *self.background.lock());
        background.shutdown().await;
    }

    pub fn request(&self, method: Method, path: &str) -> TestRequest {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("a path");
        TestRequest { router: self.router.clone(), request }
    }

    pub fn get(&self, path: &str) -> TestRequest {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> TestRequest {
        self.request(Method::POST, path)
    }

    /// Submits a task and returns its id.
    pub async fn submit(&self, token: &Token) -> Uuid {
        let body = json!({"description": "d", "data": {"a": 1}, "ttl": 5, "kind": "echo"});
        let answer = self.post("/api/tasks").token(token).json(&body).send().await;
        assert_eq!(answer.status(), 201, "{answer:?}");
        answer.json()["taskId"].as_str().expect("an id").parse().expect("a UUID")
    }

    /// Claims a waiting task like a worker.
    pub async fn claim(&self, token: &Token, id: Uuid) -> Claim {
        let task = self.tasks.get(token.user, id).await.expect("a store").expect("a task");
        let (generation, version) = (task.state.generation, task.state.version);
        let ready = TaskReady::V1 { task_id: id, generation, version, queue: None };
        let lease = SignedDuration::from_mins(5);
        let claimed = self.tasks.claim(&ready, &"worker-1".into(), lease, true).await;
        claimed.expect("a store").claimed().expect("a task to claim").claim
    }

    /// Claims and finishes a waiting task.
    pub async fn finish(&self, token: &Token, id: Uuid) {
        let claim = self.claim(token, id).await;
        let result = to_raw_value(&json!({"done": true})).expect("JSON");
        self.tasks.finish(claim, result).await.expect("finished");
    }

    /// Claims a waiting task and fails it permanently.
    pub async fn fail(&self, token: &Token, id: Uuid) {
        let claim = self.claim(token, id).await;
        let error = TaskError { code: "broken".into(), message: "it broke".into() };
        self.tasks.fail(claim, error).await.expect("failed");
    }

    /// Announces a kind like a worker.
    pub async fn announce(&self, name: &str) {
        let kind = Kind {
            name: name.to_owned(),
            description: "d".into(),
            data_schema: json!({}),
            example: Value::Null,
            queue: QueueName::default(),
        };
        self.tasks.announce_kinds(&[kind]).await.expect("announced");
    }

    /// Returns the tasks of the same store for another process, which publishes no events.
    pub async fn silent_tasks(&self) -> Tasks {
        let engine = open_engine(&database(&self.files)).await.expect("a store");
        let day = SignedDuration::from_hours(24);
        let retention = Retention { ended: day, removed: day };
        let broker = Arc::new(MemoryBroker::new());
        Runtime::new(engine, self.clock.clone(), broker, retention, LEASE).tasks().clone()
    }

    /// Makes every query of the service fail.
    pub async fn break_store(&self) {
        self.execute("DROP TABLE tasks; DROP TABLE workers; DROP TABLE task_kinds").await;
    }

    /// Executes statements in the store of the service.
    pub async fn execute(&self, sql: &'static str) {
        use sqlx::{Connection as _, Executor as _};
        let store = sqlx::SqliteConnection::connect(database(&self.files).url.expose()).await;
        store.expect("a connection").execute(sql).await.expect("executed");
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.maintenance.begin();
    }
}

fn database(files: &TempDir) -> Database {
    let url = format!("sqlite://{}", files.path().join("tasks.db").display());
    Database {
        url: EngineUrl::new(url),
        pooler: None,
        synchronous: Synchronous::Normal,
        connections: 1,
    }
}

pub(crate) struct TestRequest {
    router: Router,
    request: Request<Body>,
}

impl TestRequest {
    pub fn token(self, token: &Token) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {}", token.text))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: http::HeaderName = name.parse().expect("a name");
        self.request.headers_mut().append(name, HeaderValue::from_str(value).expect("a value"));
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    pub async fn send(self) -> Answer {
        let (method, path) = (self.request.method().clone(), self.request.uri().path().to_owned());
        let Ok(response) = self.router.oneshot(self.request).await;
        let answer = Answer::read(response).await;
        documentation::assert_documented(&method, &path, &answer);
        answer
    }

    /// Sends the request with a JSON body that arrives only after `delay`, which starts when the
    /// service waits for the body.
    pub async fn send_delayed(self, body: &Value, delay: impl Future<Output = ()>) -> Answer {
        let ((waiting, waits), (arrive, arrived)) = (oneshot::channel(), oneshot::channel());
        let bytes = body.to_string();
        let body = Body::from_stream(stream::once(async move {
            waiting.send(()).expect("a running test");
            arrived.await.map(|()| bytes)
        }));
        let delay = async {
            waits.await.expect("a service that waits for the body");
            delay.await;
            arrive.send(()).expect("a service that waits for the body");
        };
        tokio::join!(self.body("application/json", body).send(), delay).0
    }

    /// Sends the request, and returns the body as it arrives.
    pub async fn open(self) -> BodyDataStream {
        let Ok(response) = self.router.oneshot(self.request).await;
        assert_eq!(response.status(), 200);
        response.into_body().into_data_stream()
    }

    /// Opens a stream of events.
    pub async fn stream(self) -> Events {
        let request = self.header("accept", "text/event-stream");
        let Ok(response) = request.router.oneshot(request.request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        Events::new(response.into_body())
    }
}
