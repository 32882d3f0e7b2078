//! The platform with everything around it.

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

/// Who submits.
const USERS: usize = 3;
/// Short, so that what a worker leaves behind is soon taken over.
const LEASE: &str = "3s";
const GRACE: &str = "2s";
/// More tasks at a time than usual: many of them only wait, and each that is under way when
/// its worker goes is worth looking at.
const CONCURRENCY: u16 = 64;

/// Everything that takes part.
pub struct World {
    services: HashMap<Who, Mutex<Service>>,
    links: HashMap<Link, Proxy>,
    pub effects: Effects,
    /// Whoever holds a server does something to it.
    pub rabbit: Mutex<rabbit::Server>,
    pub postgres: Mutex<postgres::Server>,
    /// The program and its settings, with the ways that nothing befalls.
    pub program: Program,
    pub database: EngineUrl,
    pub host: EngineUrl,
    pub users: Vec<User>,
    pub findings: Findings,
    /// How many tasks have been accepted so far.
    pub accepted: AtomicUsize,
    /// Begun when nothing is to go wrong any more.
    pub calm: Shutdown,
    pub began: Instant,
}

impl World {
    /// Starts all of it on servers of its own.
    pub async fn start(seed: u64) -> anyhow::Result<Self> {
        let management = rabbit::Options { has_management: true, ..rabbit::Options::default() };
        let (postgres, rabbit) = tokio::try_join!(
            // Connections that lead nowhere stay open on the server's side.
            postgres::Server::start(Durability::Crash, &["max_connections=600"]),
            rabbit::Server::start(management),
        )?;
        // The virtual host that is there from the beginning: each one more takes its time with
        // every start of the server.
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
            users.push(platform.sign_up(&format!("somebody-{number}")).await);
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

    /// A process, for oneself.
    pub async fn service(&self, who: Who) -> MutexGuard<'_, Service> {
        self.services[&who].lock().await
    }

    /// The proxy of a link.
    pub fn link(&self, link: Link) -> &Proxy {
        &self.links[&link]
    }

    /// A user at an API, the clients' way.
    pub fn at(&self, user: usize, api: usize) -> User {
        let address = self.links[&Link::Api(api)].address();
        self.users[user].at(&format!("http://{address}"))
    }

    /// Tells what happens, with its time and how many tasks have been accepted by then.
    pub fn note(&self, what: impl Display) {
        let (time, accepted) = (self.began.elapsed(), self.accepted.load(Ordering::Relaxed));
        println!("{:7.1} s {accepted:6}  {what}", time.as_secs_f64());
    }

    /// Lets time pass, but not beyond the beginning of calm.
    pub async fn pause(&self, time: Duration) {
        self.calm.token().run_until_cancelled(sleep(time)).await;
    }

    /// Waits for its time; `false`: it is calm before that.
    pub async fn until(&self, at: Duration) -> bool {
        let waited = self.calm.token().run_until_cancelled(sleep_until(self.began + at)).await;
        waited.is_some()
    }

    /// Writes what everybody has logged to files; where they are.
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
