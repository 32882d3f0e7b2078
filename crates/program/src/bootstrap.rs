//! How every program of the platform starts and ends.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::{AdminConfig, Program, SECTIONS, admin};
use miniapp_config::{Config, variable_of};
use miniapp_runtime::health::Health;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_telemetry::metrics;
use miniapp_telemetry::{self as telemetry, Telemetry};

/// Work that ignores a request to stop at once is left behind after this.
const LEFT_BEHIND: Duration = Duration::from_secs(1);
/// How long a thread waits for blocking work. What it allocated goes back to the system when
/// it ends, and passwords take 19 MiB each.
const IDLE_THREAD: Duration = Duration::from_secs(1);
const FAILURE: u8 = 1;
const USAGE: u8 = 2;

/// What a program has at hand when it begins.
#[derive(Clone, Debug)]
pub struct AppContext {
    /// What is set.
    pub config: Arc<Config>,
    /// When to stop.
    pub shutdown: Shutdown,
    /// Where to add checks; `/readyz` asks them.
    pub health: Health,
    /// Where the admin listener came to be.
    pub admin: SocketAddr,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

/// The arguments of a service.
#[derive(Debug, Parser)]
struct Arguments {
    /// The configuration file; every setting can also be given as an environment
    /// variable, such as `MINIAPP__API__LISTEN`.
    #[arg(long, value_name = "FILE", env = "MINIAPP_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs a service from its arguments to its exit code: configuration, logs, traces,
/// signals, the admin listener, then `serve`. A wrong value in a section that the program
/// reads is a usage error.
pub fn run<F>(program: Program, serve: impl FnOnce(AppContext) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let command = Arguments::command()
        .name(program.name)
        .about(program.about)
        .version(program.full_version());
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let config = Config::load(arguments.config.as_deref()).and_then(|config| {
        config.validate(SECTIONS)?;
        config.validate(program.sections)?;
        Ok(config)
    });
    let config = match config {
        Ok(config) => config,
        Err(error) => return refuse(&error, USAGE),
    };
    match run_with(program, config, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&format_args!("{error:#}"), FAILURE),
    }
}

/// As [`run`], for a program that has read its arguments and configuration itself, and
/// says itself what went wrong.
pub fn run_with<F>(
    program: Program,
    config: Config,
    serve: impl FnOnce(AppContext) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let admin: AdminConfig = config.section()?;
    let (runtime, telemetry) = prepare(program, &config)?;
    let flushed = Flushed(telemetry);
    let served = runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("can't listen to signals")?;
        let listen = admin.address(program.admin_port);
        let listener = self::listen(listen, "admin.listen").await?;
        let health = Health::starting();
        let address = listener.local_addr().context("can't tell where the admin listener is")?;
        let admin = tokio::spawn(admin::serve(listener, health.clone(), shutdown.clone()));
        let context = AppContext {
            config: Arc::new(config),
            shutdown: shutdown.clone(),
            health,
            admin: address,
            telemetry: flushed.0.clone(),
        };
        let served = tokio::select! {
            served = serve(context) => served,
            () = left_behind(&shutdown) => Err(anyhow::anyhow!("stopped at once, as asked")),
        };
        admin.abort();
        served
    });
    runtime.shutdown_timeout(LEFT_BEHIND);
    drop(flushed);
    served
}

/// Sends what hasn't been sent, however the program ends: by a panic, too.
struct Flushed(Telemetry);

impl Drop for Flushed {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Listens where a service is to be found; `key` is the setting that says so.
pub async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let variable = variable_of(key);
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("can't listen on {address} ({key}, {variable})"))
}

async fn left_behind(shutdown: &Shutdown) {
    shutdown.aborted().await;
    tokio::time::sleep(LEFT_BEHIND).await;
}

fn prepare(program: Program, config: &Config) -> anyhow::Result<(Runtime, Telemetry)> {
    let telemetry = telemetry::init(program.info(), config)?;
    metrics::register_build_info(program.info());
    // Whoever came first has chosen; there is only this one in the program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREAD)
        .build()
        .context("can't start the runtime")?;
    Ok((runtime, telemetry))
}

/// The soft limit is there for programs that use `select`; each connection needs one.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(error = error.to_string(), "can't raise the limit of open files");
    }
}

fn refuse(error: &dyn Display, code: u8) -> ExitCode {
    // Sources may bring their own lines; people and scripts read one.
    let text = error.to_string();
    let text: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    eprintln!("error: {}", text.join(" "));
    ExitCode::from(code)
}
