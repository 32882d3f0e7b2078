//! PostgreSQL servers for tests.

mod install;
mod pooler;

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use miniapp_config::{Database, EngineUrl, Synchronous};
use parking_lot::Mutex;
use rustix::process::Pid;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use tokio::sync::OnceCell;

use self::install::Install;
pub use self::pooler::{PoolMode, Pooler};
use crate::certificate::Certificate;
use crate::proxy::Proxy;
use crate::{ports, scratch};

/// A server that recovers from a crash takes longer to start.
const START_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The superuser, which tests connect as.
const USER: &str = "postgres";
/// Its password over TCP, with characters that a URL has to escape.
const PASSWORD: &str = "pass/word@1";
const ESCAPED_PASSWORD: &str = "pass%2Fword%401";
/// Runs the server until the guard's standard input is closed, which also happens when the test
/// process dies. It then removes the files, unless it has read `keep`.
const GUARD: &str = r#"
directory=$1; shift
"$@" >>"$directory/log" 2>&1 &
server=$!
read -r word
kill -QUIT "$server"
wait "$server"
[ "$word" = keep ] || rm -rf -- "$directory"
"#;

/// Checks that `grants` names each table that the migrations create.
#[track_caller]
pub fn assert_tables_are_granted(migrations: &Migrator, grants: &str) {
    for migration in migrations.iter() {
        for definition in migration.sql.as_str().split("CREATE TABLE ").skip(1) {
            let table = definition.split([' ', '(']).next().expect("a name");
            let mut words = grants.split(|at: char| !at.is_alphanumeric() && at != '_');
            assert!(words.any(|word| word == table), "{table} is missing");
        }
    }
}

/// What a committed transaction survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power failure, as in production. For benchmarks.
    Power,
    /// A crash of the server. Faster, for tests.
    Crash,
}

/// A server in a temporary directory, on a free port. Dropping it stops the server.
pub struct Server {
    install: Install,
    directory: PathBuf,
    port: u16,
    settings: Vec<String>,
    guard: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Server {
    /// Returns the server that all tests of this process share. It ends with the process.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::alone(&[])).await
    }

    /// Starts a server for one test, which may crash or reconfigure it.
    pub async fn alone(settings: &[&str]) -> Self {
        Self::start(Durability::Crash, settings).await.expect("a server")
    }

    /// Starts a server. `settings` have the form `NAME=VALUE` and override the default ones.
    pub async fn start(durability: Durability, settings: &[&str]) -> Result<Self> {
        let install = Install::find()?;
        let directory = scratch::directory("miniapp-postgres-")?.keep();
        let mut all = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", directory.display()),
            "max_connections=60".to_owned(),
        ];
        if durability == Durability::Crash {
            all.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
        }
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let server = Self {
            port: ports::free(),
            install,
            directory,
            settings: all,
            guard: Mutex::default(),
            databases: AtomicU32::new(0),
        };
        server.install.give(&server.directory)?;
        server.init()?;
        server.resume().await?;
        Ok(server)
    }

    /// Creates a database and returns its URL.
    pub async fn database(&self) -> Result<EngineUrl> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(USER, &format!("CREATE DATABASE {name}")).await?;
        Ok(self.url(&name))
    }

    /// Creates a database and returns a proxy to the server and the URL through the proxy.
    pub async fn database_behind_proxy(&self) -> Result<(Proxy, EngineUrl)> {
        let url = self.database().await?;
        let address = format!("127.0.0.1:{}", self.port);
        let proxy = Proxy::to(address.as_str(), 1).await?;
        let url = url.expose().replace(&address, &proxy.address().to_string());
        // Without a request for TLS, each message of the protocol is a step of the proxy.
        Ok((proxy, EngineUrl::new(format!("{url}?sslmode=disable"))))
    }

    /// Creates a database and returns the configuration of a store for it.
    pub async fn settings(&self) -> Result<Database> {
        let url = self.database().await?;
        Ok(Database { url, pooler: None, synchronous: Synchronous::Full, connections: 4 })
    }

    /// The URL of the database `name`, over TCP and with a password.
    pub fn url(&self, name: &str) -> EngineUrl {
        let port = self.port;
        EngineUrl::new(format!("postgres://{USER}:{ESCAPED_PASSWORD}@127.0.0.1:{port}/{name}"))
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster, the parent of the other processes.
    pub fn pid(&self) -> Result<Pid> {
        let file = fs::read_to_string(self.data().join("postmaster.pid"))?;
        let line = file.lines().next().context("an empty file")?;
        Pid::from_raw(line.parse()?).context("it isn't running")
    }

    /// A client program of PostgreSQL for the database `name`, as superuser.
    pub fn program(&self, program: &str, name: &str) -> Command {
        let mut command = Command::new(self.install.binary(program));
        command
            .env("PGHOST", &self.directory)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", USER)
            .env("PGDATABASE", name);
        command
    }

    /// Runs statements in the database `name`, as superuser.
    pub async fn execute(&self, name: &str, statements: &str) -> Result<()> {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        self.connect(name).await?.execute(statements).await?;
        Ok(())
    }

    /// Connects to the database `name`, as superuser.
    pub async fn connect(&self, name: &str) -> Result<PgConnection> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(&self.directory)
            .port(self.port)
            .username(USER)
            .database(name)
            .disable_statement_logging();
        Ok(options.connect().await?)
    }

    /// Crashes the server: open transactions and connections are lost. It can be
    /// [resumed](Self::resume).
    pub fn crash(&self) -> Result<()> {
        let Some(mut guard) = self.guard.lock().take() else { bail!("it isn't running") };
        let mut input = guard.stdin.take().context("the guard has no input")?;
        input.write_all(b"keep\n")?;
        drop(input);
        guard.wait()?;
        Ok(())
    }

    /// Starts the stopped server and waits until it accepts connections.
    pub async fn resume(&self) -> Result<()> {
        ensure!(self.guard.lock().is_none(), "it is running");
        let mut command = Command::new("sh");
        self.install.demote(&mut command);
        command
            .args(["-c", GUARD, "guard"])
            .arg(&self.directory)
            .arg(self.install.binary("postgres"))
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .current_dir(&self.directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        *self.guard.lock() = Some(command.spawn().context("can't start a shell")?);
        let late = Instant::now() + START_TIMEOUT;
        loop {
            match self.connect(USER).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > late => {
                    let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                    return Err(error.context(format!("PostgreSQL does not start:\n{log}")));
                }
                Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// Crashes the server and starts it again.
    pub async fn restart(&self) -> Result<()> {
        self.crash()?;
        self.resume().await
    }

    /// Crashes the server and starts it as a standby, which rejects writes until
    /// `SELECT pg_promote()`.
    pub async fn stand_by(&self) -> Result<()> {
        self.crash()?;
        self.put("standby.signal", "")?;
        self.resume().await
    }

    /// Requires TLS over TCP from now on, with `certificate`.
    pub async fn want_tls(&self, certificate: &Certificate) -> Result<()> {
        const WHO: &str = "local all all trust\nhostssl all all all scram-sha-256\n";
        self.put("server.crt", &certificate.chain)?;
        self.put("server.key", &certificate.key)?;
        self.put("pg_hba.conf", WHO)?;
        self.execute(USER, "ALTER SYSTEM SET ssl = on").await?;
        self.restart().await
    }

    /// Writes one of the server's files.
    fn put(&self, name: &str, text: &str) -> Result<()> {
        let path = self.data().join(name);
        fs::write(&path, text)?;
        // The server rejects a key that others can read.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        self.install.give(&path)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn init(&self) -> Result<()> {
        let password = self.directory.join("password");
        File::create(&password)?.write_all(PASSWORD.as_bytes())?;
        self.install.give(&password)?;
        let mut command = Command::new(self.install.binary("initdb"));
        self.install.demote(&mut command);
        let output = command
            .arg("-D")
            .arg(self.data())
            .args(["-U", USER, "--no-sync", "--encoding=UTF8", "--locale=C"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .arg(format!("--pwfile={}", password.display()))
            .current_dir(&self.directory)
            .output()
            .context("can't run initdb")?;
        ensure!(
            output.status.success(),
            "initdb fails: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.guard.lock().take() {
            Some(mut guard) => {
                drop(guard.stdin.take());
                let _ = guard.wait();
            }
            None => drop(fs::remove_dir_all(&self.directory)),
        }
    }
}

#[cfg(test)]
mod tests;
