//! What the tests share.

use kit::config::EngineUrl;
use testkit::platform::{Program, Separate, User};
use testkit::postgres::{self, Durability};
use testkit::rabbit::{Options, Server};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

static ACCESS: RwLock<()> = RwLock::const_new(());

/// A server, and the right to use it.
pub struct Broker<Access> {
    pub server: &'static Server,
    /// A virtual host that nobody else uses.
    pub url: EngineUrl,
    /// A database that nobody else uses.
    database: EngineUrl,
    _access: Access,
}

/// The server, with others at it. `None`: only embedded engines are to be tested.
pub async fn shared() -> Option<Broker<RwLockReadGuard<'static, ()>>> {
    let server = server().await?;
    Some(Broker {
        server,
        _access: ACCESS.read().await,
        url: host(server).await,
        database: database().await,
    })
}

/// The server for oneself, to do to it what others would notice.
pub async fn alone() -> Option<Broker<RwLockWriteGuard<'static, ()>>> {
    let server = server().await?;
    Some(Broker {
        server,
        _access: ACCESS.write().await,
        url: host(server).await,
        database: database().await,
    })
}

async fn server() -> Option<&'static Server> {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    if testkit::only_embedded() {
        return None;
    }
    let options = Options { has_management: true, ..Options::default() };
    let start = async || Server::start(options).await.expect("a RabbitMQ server");
    Some(SERVER.get_or_init(start).await)
}

async fn database() -> EngineUrl {
    static SERVER: OnceCell<postgres::Server> = OnceCell::const_new();
    let start = async || {
        // Six processes a platform, and several platforms.
        let settings = ["max_connections=400"];
        postgres::Server::start(Durability::Crash, &settings).await.expect("a PostgreSQL server")
    };
    SERVER.get_or_init(start).await.database().await.expect("a database")
}

async fn host(server: &Server) -> EngineUrl {
    server.host().await.expect("a virtual host")
}

impl<Access> Broker<Access> {
    /// The settings of services that meet here.
    pub fn program(&self) -> Program {
        Program::new(env!("CARGO_BIN_EXE_miniapp"))
            .set("broker.url", self.url.expose())
            .set("database.url", self.database.expose())
    }

    /// One auth, two APIs, three workers.
    pub async fn platform(&self) -> Separate {
        Separate::start(&self.program(), 2, 3).await
    }

    /// A client of the same virtual host.
    pub fn client(&self) -> std::sync::Arc<dyn broker::Broker> {
        broker::open(&self.url).expect("a broker")
    }
}

/// Somebody new, as each API knows them.
pub async fn somebody(platform: &Separate) -> Vec<User> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let user = platform.sign_up(&format!("somebody-{}", &id[..12])).await;
    platform.everywhere(&user)
}
