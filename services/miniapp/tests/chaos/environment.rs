//! The platform with its servers and proxies.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_config::EngineUrl;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_test_support::platform::{Program, Separate, Service, User};
use miniapp_test_support::postgres::{self, Durability};
use miniapp_test_support::proxy::Proxy;
use miniapp_test_support::rabbit;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, sleep_until};

use crate::effects::Effects;
use crate::findings::Findings;
use crate::topology::{APIS, Link, WORKERS, Who};

/// The login of the clients.
const USERS: usize = 3;
/// Short, so that the tasks of a dead worker are soon taken over.
const LEASE: &str = "3s";
const GRACE: &str = "2s";
/// Higher than the default: many tasks only sleep, and each task on a killed worker is a test case.
const CONCURRENCY: u16 = 64;

/// All processes, servers and proxies.
pub struct Environment {
    services: HashMap<Who, Mutex<Service>>,
    links: HashMap<Link, Proxy>,
    pub effects: Effects,
    /// Locked while a fault affects the server.
    pub rabbit: Mutex<rabbit::Server>,
    pub postgres: Mutex<postgres::Server>,
    /// The program with settings for direct connections, which no fault affects.
    pub program: Program,
    pub database: EngineUrl,
    pub host: EngineUrl,
    pub users: Vec<User>,
    pub findings: Findings,
    /// The number of accepted tasks.
    pub accepted: AtomicUsize,
    /// Begun when the faults stop.
    pub calm: Shutdown,
    pub began: Instant,
}

impl Environment {
    /// Starts everything, on new servers.
    pub async fn start(seed: u64) -> anyhow::Result<Self> {
        let management = rabbit::Options { has_management: true, ..rabbit::Options::default() };
        let (postgres, rabbit) = tokio::try_join!(
            // Cut connections stay open on the side of the server.
            postgres::Server::start(Durability::Crash, &["max_connections=600"]),
            rabbit::Server::start(management),
        )?;
        // The default virtual host: each additional one slows down every start of the server.
        let (database, host) = (postgres.database().await?, rabbit.url("%2F"));
        let program = Program::new(env!("CARGO_BIN_EXE_miniapp"))
            .set("database.url", database.expose())
            .set("broker.url", host.expose())
            .set("worker.lease", LEASE)
            .set("worker.grace", GRACE)
            .set("worker.concurrency", CONCURRENCY)
            .set("worker.http_allow_private", true);

        let mut links = HashMap::new();
        for (number, link) in (0..).zip(Link::all()) {
            let target = match link {
                Link::Postgres(_) => format!("127.0.0.1:{}", postgres.port()),
                Link::Rabbit(_) => format!("127.0.0.1:{}", rabbit.port()),
                Link::Auth(_) => program.setting("auth.listen").to_owned(),
                Link::Api(_) => continue,
            };
            links.insert(link, Proxy::to(target, seed.wrapping_add(number << 32)).await?);
        }
        let detour = |url: &EngineUrl, port: u16, link: Link| {
            let way = format!(":{}/", links[&link].address().port());
            url.expose().replace(&format!(":{port}/"), &way)
        };
        let mut platform =
            Separate::launch_each(&program, APIS, WORKERS, |program, name, number| {
                let who = match name {
                    "api" => Who::Api(number),
                    "worker" => Who::Worker(number),
                    _ => Who::Auth,
                };
                let program = match who {
                    Who::Api(number) => {
                        let auth = links[&Link::Auth(number)].address();
                        program.set("auth.url", format_args!("http://{auth}"))
                    }
                    Who::Worker(_) => program.set("worker.name", who.to_string().replace(' ', "-")),
                    Who::Auth => program,
                };
                program
                    .set("database.url", detour(&database, postgres.port(), Link::Postgres(who)))
                    .set("broker.url", detour(&host, rabbit.port(), Link::Rabbit(who)))
            });
        join_all(platform.services().map(Service::until_ready)).await;

        let mut users = Vec::new();
        for number in 0..USERS {
            users.push(platform.sign_up(&format!("user-{number}")).await);
        }
        let Separate { auth, apis, workers, .. } = platform;
        for (number, api) in apis.iter().enumerate() {
            let url = api.url();
            let target = url.strip_prefix("http://").unwrap_or(&url);
            links.insert(Link::Api(number), Proxy::to(target, seed).await?);
        }
        let services = [auth].into_iter().chain(apis).chain(workers);
        Ok(Self {
            services: Who::all().into_iter().zip(services.map(Mutex::new)).collect(),
            links,
            effects: Effects::start(seed).await?,
            rabbit: Mutex::new(rabbit),
            postgres: Mutex::new(postgres),
            program,
            database,
            host,
            users,
            findings: Findings::default(),
            accepted: AtomicUsize::new(0),
            calm: Shutdown::new(),
            began: Instant::now(),
        })
    }

    /// Locks a process.
    pub async fn service(&self, who: Who) -> MutexGuard<'_, Service> {
        self.services[&who].lock().await
    }

    pub fn link(&self, link: Link) -> &Proxy {
        &self.links[&link]
    }

    /// A user at an API, through the proxy of clients.
    pub fn at(&self, user: usize, api: usize) -> User {
        let address = self.links[&Link::Api(api)].address();
        self.users[user].at(&format!("http://{address}"))
    }

    /// Prints an event with its time and the number of accepted tasks.
    pub fn note(&self, what: impl Display) {
        let (time, accepted) = (self.began.elapsed(), self.accepted.load(Ordering::Relaxed));
        println!("{:7.1} s {accepted:6}  {what}", time.as_secs_f64());
    }

    /// Sleeps until the time has passed or the faults stop.
    pub async fn pause(&self, time: Duration) {
        self.calm.token().run_until_cancelled(sleep(time)).await;
    }

    /// Sleeps until the time. Returns whether the faults still go on.
    pub async fn until(&self, at: Duration) -> bool {
        let waited = self.calm.token().run_until_cancelled(sleep_until(self.began + at)).await;
        waited.is_some()
    }

    /// Writes the logs of all processes to files and returns their folder.
    pub async fn keep_logs(&self, seed: u64) -> anyhow::Result<PathBuf> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}"));
        fs::create_dir_all(&folder)?;
        for who in Who::all() {
            let log = self.service(who).await.log();
            fs::write(folder.join(format!("{who}.log").replace(' ', "-")), log)?;
        }
        let (postgres, rabbit) = (self.postgres.lock().await, self.rabbit.lock().await);
        fs::copy(postgres.directory().join("log"), folder.join("postgres.log"))?;
        fs::copy(rabbit.directory().join("log"), folder.join("rabbit.log"))?;
        Ok(folder)
    }
}
