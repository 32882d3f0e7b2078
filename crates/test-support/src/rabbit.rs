//! A RabbitMQ server of one's own.

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

/// How long a server may take to start, on a machine that is busy with other things.
const START: Duration = Duration::from_mins(2);
/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long it may take to end in good order. It would wait much longer for clients that
/// don't answer.
const STOP: Duration = Duration::from_secs(8);

/// What a server offers beside AMQP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// AMQP over TLS, with a certificate for `localhost` that [`Server::authority`] signed.
    pub has_tls: bool,
    /// The management API.
    pub has_management: bool,
}

/// A server in a scratch directory, on free ports, that ends with its owner.
pub struct Server(Arc<Node>);

impl Server {
    /// Returns the server that all tests of this process share. It ends with the process.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        let options = Options { has_tls: true, ..Options::default() };
        let start = async || Self::start(options).await.expect("a RabbitMQ server");
        SHARED.get_or_init(start).await
    }

    /// Starts a server.
    pub async fn start(options: Options) -> Result<Self> {
        let server = Self(Arc::new(Node::new(options)?));
        server.resume().await?;
        Ok(server)
    }

    /// The URL of an empty virtual host that nobody else uses.
    pub async fn host(&self) -> Result<EngineUrl> {
        let node = Arc::clone(&self.0);
        let host = spawn_blocking(move || node.host()).await??;
        Ok(self.url(&host))
    }

    /// The URL of the virtual host `host`, for someone who may do everything there.
    pub fn url(&self, host: &str) -> EngineUrl {
        EngineUrl::new(format!("amqp://guest:guest@localhost:{}/{host}", self.0.ports.amqp))
    }

    /// Where it listens for AMQP on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.0.ports.amqp
    }

    /// Where it listens for AMQP over TLS, if it does.
    pub fn tls_port(&self) -> u16 {
        self.0.ports.tls
    }

    /// Where it listens for HTTP requests about itself, if it does.
    pub fn management_port(&self) -> u16 {
        self.0.ports.management
    }

    /// The file with the certificate of who signed the server's, in PEM.
    pub fn authority(&self) -> PathBuf {
        self.0.directory.join("ca.pem")
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Runs `rabbitmqctl`, and gives what it says.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let node = Arc::clone(&self.0);
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        spawn_blocking(move || node.ctl(&arguments)).await?
    }

    /// Closes all connections to the virtual host that `url` names, as an operator would.
    pub async fn close_connections(&self, url: &EngineUrl) -> Result<()> {
        let (_, host) = url.rest().rsplit_once('/').context("a URL without a virtual host")?;
        self.ctl(&["close_all_connections", "--vhost", host, "by an operator"]).await?;
        Ok(())
    }

    /// Makes it believe that it is out of memory, or no longer.
    pub async fn starve(&self, is_starving: bool) -> Result<()> {
        let share = if is_starving { "0" } else { "0.8" };
        self.ctl(&["set_vm_memory_high_watermark", share]).await?;
        Ok(())
    }

    /// Makes it believe that its disk is full, or no longer.
    pub async fn fill_disk(&self, is_full: bool) -> Result<()> {
        let must_be_free = if is_full { "1000000GB" } else { "50MB" };
        self.ctl(&["set_disk_free_limit", must_be_free]).await?;
        Ok(())
    }

    /// For how long consumers that begin from now on may hold a delivery.
    pub async fn limit_consumers(&self, patience: Duration) -> Result<()> {
        // It looks once a minute, and channels take over how often when they begin.
        let set = format!(
            "application:set_env(rabbit, channel_tick_interval, 500), \
             application:set_env(rabbit, consumer_timeout, {}).",
            patience.as_millis()
        );
        self.ctl(&["eval", &set]).await?;
        Ok(())
    }

    /// Stops its process where it is: connections stay, and nothing comes over them.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// The server's process.
    pub fn pid(&self) -> Result<Pid> {
        let pid = fs::read_to_string(self.0.directory.join("pid"))?;
        Pid::from_raw(pid.trim().parse()?).context("it isn't running")
    }

    /// Kills it. It can be [resumed](Self::resume).
    pub async fn crash(&self) -> Result<()> {
        self.end("crash").await
    }

    /// Has it end in good order, or as soon as that takes too long. It can be
    /// [resumed](Self::resume).
    pub async fn stop(&self) -> Result<()> {
        self.end("stop").await
    }

    async fn end(&self, word: &'static str) -> Result<()> {
        let Some(mut guard) = self.0.guard.lock().take() else { bail!("it isn't running") };
        let mut input = guard.stdin.take().context("the guard has no input")?;
        writeln!(input, "{word}")?;
        let mut ended = spawn_blocking(move || guard.wait());
        if timeout(STOP, &mut ended).await.is_err() {
            // By now it may have ended.
            let _ = self.signal(Signal::KILL);
            ended.await??;
        }
        Ok(())
    }

    /// Starts it where it was left, and waits until it can be used.
    pub async fn resume(&self) -> Result<()> {
        ensure!(self.0.guard.lock().is_none(), "it is running");
        *self.0.guard.lock() = Some(self.0.guarded()?);
        let late = Instant::now() + START;
        // Its listeners come last, in no certain order.
        while !self.listens().await {
            let has_ended = match &mut *self.0.guard.lock() {
                Some(guard) => guard.try_wait()?.is_some(),
                None => true,
            };
            if has_ended || Instant::now() > late {
                let log = fs::read_to_string(self.0.directory.join("log")).unwrap_or_default();
                bail!("RabbitMQ doesn't start:\n{log}");
            }
            tokio::time::sleep(ASK_EVERY).await;
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
