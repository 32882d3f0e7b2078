//! Servers, users and checks for the tests of separate processes.

use futures_util::future::join_all;
use miniapp_config::EngineUrl;
use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Program, Separate, Service, User};
use miniapp_test_support::postgres::{self, Durability};
use miniapp_test_support::rabbit::{Options, Server};
use miniapp_types::task::{EventType, Status};
use serde_json::json;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use uuid::Uuid;

static ACCESS: RwLock<()> = RwLock::const_new(());

/// A server, locked for shared or exclusive use.
pub struct Broker<Access> {
    pub server: &'static Server,
    /// An unused virtual host.
    pub url: EngineUrl,
    /// An unused database.
    database: EngineUrl,
    _access: Access,
}

/// Returns the server, which other tests use at the same time.
pub async fn shared() -> Broker<RwLockReadGuard<'static, ()>> {
    Broker::new(ACCESS.read().await).await
}

/// Returns the server while no other test uses it, for faults that affect all clients.
pub async fn alone() -> Broker<RwLockWriteGuard<'static, ()>> {
    Broker::new(ACCESS.write().await).await
}

async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let options = Options { has_management: true, ..Options::default() };
    let start = async || Server::start(options).await.expect("a RabbitMQ server");
    SERVER.get_or_init(start).await
}

/// The database server of all tests.
pub async fn databases() -> &'static postgres::Server {
    static SERVER: OnceCell<postgres::Server> = OnceCell::const_new();
    let start = async || {
        // Several platforms with six processes each.
        let settings = ["max_connections=400"];
        postgres::Server::start(Durability::Crash, &settings).await.expect("a PostgreSQL server")
    };
    SERVER.get_or_init(start).await
}

impl<Access> Broker<Access> {
    async fn new(access: Access) -> Self {
        let server = server().await;
        let url = server.host().await.expect("a virtual host");
        let database = databases().await.database().await.expect("a database");
        Self { server, url, database, _access: access }
    }

    /// The settings of services that use the server.
    pub fn program(&self) -> Program {
        Program::new(env!("CARGO_BIN_EXE_miniapp"))
            .set("broker.url", self.url.expose())
            .set("database.url", self.database.expose())
    }

    /// One auth, two APIs, three workers.
    pub async fn platform(&self) -> Separate {
        Separate::start(&self.program(), 2, 3).await
    }

    /// A client of the virtual host.
    pub fn client(&self) -> std::sync::Arc<dyn miniapp_broker::Broker> {
        miniapp_broker::open(&self.url).expect("a broker")
    }
}

/// Signs up a user and returns a client for each API.
pub async fn new_user(platform: &Separate) -> Vec<User> {
    let id = Uuid::new_v4().simple().to_string();
    let user = platform.sign_up(&format!("user-{}", &id[..12])).await;
    platform.everywhere(&user)
}

/// The readiness report of a service.
pub async fn readiness(service: &Service) -> Answer {
    Answer::to(service.admin_request("/readyz")).await
}

/// Waits until each service has logged what is `wrong` in a line that names the `setting`, and is
/// alive but not ready.
pub async fn expect_all_unready(platform: &mut Separate, setting: &str, wrong: &str) {
    for service in platform.services() {
        service.until_logged(wrong).await;
        let log = service.log();
        let mut lines = log.lines().filter(|line| line.contains(wrong));
        assert!(
            lines.any(|line| line.contains(setting)),
            "the line does not name {setting}: {log}"
        );
        Answer::to(service.admin_request("/livez")).await.expect(200);
        eventually("the service is unready", async || {
            (readiness(service).await.status == 503).then_some(())
        })
        .await;
    }
}

/// Waits until each service is ready and a task has finished.
pub async fn expect_all_working(platform: &mut Separate) {
    join_all(platform.services().map(Service::until_ready)).await;
    let user = new_user(platform).await.remove(0);
    let task = user.submit("echo", &json!("after all")).await;
    user.until(task.task_id, Status::Finished).await;
    for service in platform.services() {
        let log = service.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Waits until the tasks have finished, and checks that each did so once.
pub async fn expect_finished_once(user: &User, tasks: &[Uuid]) {
    for task in tasks {
        user.until(*task, Status::Finished).await;
    }
    for task in tasks {
        let types = user.event_types(*task).await;
        let ends = types.iter().filter(|event| **event == EventType::Finished).count();
        assert_eq!((ends, types.last()), (1, Some(&EventType::Finished)), "{types:?}");
    }
}
