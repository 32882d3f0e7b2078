//! RabbitMQ servers for tests.

mod install;
mod node;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use miniapp_config::EngineUrl;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::node::Node;

/// Generous, for busy machines.
const START_TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The server itself would wait much longer for clients that do not respond.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Optional listeners.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// AMQP over TLS, with a certificate for `localhost` that [`Server::authority`] signed.
    pub has_tls: bool,
    /// The management API.
    pub has_management: bool,
}

/// A server in a temporary directory, on free ports. It is stopped when it is dropped.
pub struct Server(Arc<Node>);

impl Server {
    /// Returns the server that all tests of this process share. It ends with the process.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        let options = Options { has_tls: true, ..Options::default() };
        let start = async || Self::start(options).await.expect("a RabbitMQ server");
        SHARED.get_or_init(start).await
    }

    pub async fn start(options: Options) -> Result<Self> {
        let server = Self(Arc::new(Node::new(options)?));
        server.resume().await?;
        Ok(server)
    }

    /// Returns the URL of an empty virtual host that no other test uses.
    pub async fn host(&self) -> Result<EngineUrl> {
        let node = Arc::clone(&self.0);
        let host = spawn_blocking(move || node.host()).await??;
        Ok(self.url(&host))
    }

    /// Returns the URL of a virtual host, with full permissions.
    pub fn url(&self, host: &str) -> EngineUrl {
        EngineUrl::new(format!("amqp://guest:guest@localhost:{}/{host}", self.0.ports.amqp))
    }

    /// Returns the AMQP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.0.ports.amqp
    }

    /// Returns the port for AMQP over TLS, if enabled.
    pub fn tls_port(&self) -> u16 {
        self.0.ports.tls
    }

    /// Returns the port of the management API, if enabled.
    pub fn management_port(&self) -> u16 {
        self.0.ports.management
    }

    /// Returns the certificate of the authority that signed the server's, a PEM file.
    pub fn authority(&self) -> PathBuf {
        self.0.directory.join("ca.pem")
    }

    /// Returns the data directory.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Runs `rabbitmqctl` and returns its output.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let node = Arc::clone(&self.0);
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        spawn_blocking(move || node.ctl(&arguments)).await?
    }

    /// Closes all connections to the virtual host of `url`, like an operator.
    pub async fn close_connections(&self, url: &EngineUrl) -> Result<()> {
        let (_, host) = url.rest().rsplit_once('/').context("a URL without a virtual host")?;
        self.ctl(&["close_all_connections", "--vhost", host, "by an operator"]).await?;
        Ok(())
    }

    /// Sets or clears the memory alarm.
    pub async fn starve(&self, is_starving: bool) -> Result<()> {
        let share = if is_starving { "0" } else { "0.8" };
        self.ctl(&["set_vm_memory_high_watermark", share]).await?;
        Ok(())
    }

    /// Sets or clears the disk alarm.
    pub async fn fill_disk(&self, is_full: bool) -> Result<()> {
        let min_free = if is_full { "1000000GB" } else { "50MB" };
        self.ctl(&["set_disk_free_limit", min_free]).await?;
        Ok(())
    }

    /// Returns the number of unacknowledged messages in the virtual host of `url`.
    pub async fn unacknowledged(&self, url: &EngineUrl) -> Result<u64> {
        let (_, host) = url.rest().rsplit_once('/').context("a URL without a virtual host")?;
        let list = ["list_queues", "--no-table-headers", "-p", host, "messages_unacknowledged"];
        let counts = self.ctl(&list).await?;
        Ok(counts.split_whitespace().map(str::parse::<u64>).sum::<Result<u64, _>>()?)
    }

    /// Suspends the process. Connections stay open, and nothing is sent.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Resumes the process after [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    pub fn pid(&self) -> Result<Pid> {
        let pid = fs::read_to_string(self.0.directory.join("pid"))?;
        Pid::from_raw(pid.trim().parse()?).context("the server isn't running")
    }

    /// Kills the server. It can be [resumed](Self::resume).
    pub async fn crash(&self) -> Result<()> {
        self.end("crash").await
    }

    /// Stops the server, and kills it after a timeout. It can be [resumed](Self::resume).
    pub async fn stop(&self) -> Result<()> {
        self.end("stop").await
    }

    async fn end(&self, command: &'static str) -> Result<()> {
        let Some(mut guard) = self.0.guard.lock().take() else { bail!("the server isn't running") };
        let mut input = guard.stdin.take().context("the guard has no input")?;
        writeln!(input, "{command}")?;
        let mut ended = spawn_blocking(move || guard.wait());
        if timeout(STOP_TIMEOUT, &mut ended).await.is_err() {
            // Fails if it has just ended.
            let _ = self.signal(Signal::KILL);
            ended.await??;
        }
        Ok(())
    }

    /// Starts the server with its existing data, and waits until it listens.
    pub async fn resume(&self) -> Result<()> {
        ensure!(self.0.guard.lock().is_none(), "the server is running");
        *self.0.guard.lock() = Some(self.0.guarded()?);
        let deadline = Instant::now() + START_TIMEOUT;
        // The listeners start last, in any order.
        while !self.listens().await {
            let has_ended = match &mut *self.0.guard.lock() {
                Some(guard) => guard.try_wait()?.is_some(),
                None => true,
            };
            if has_ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.0.directory.join("log")).unwrap_or_default();
                bail!("RabbitMQ doesn't start:\n{log}");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    async fn listens(&self) -> bool {
        let Options { has_tls, has_management } = self.0.options;
        let tls = has_tls.then(|| self.tls_port());
        let management = has_management.then(|| self.management_port());
        for port in [Some(self.port()), tls, management].into_iter().flatten() {
            if TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
