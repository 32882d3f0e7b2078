//! Starts and stops a program.

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
use miniapp_config::{Config, ConfigError, Schema, variable_of};
use miniapp_runtime::health::Health;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_runtime::terminal::escape;
use miniapp_telemetry::metrics;
use miniapp_telemetry::{self as telemetry, Telemetry};

/// How long work may take to stop after shutdown is aborted. Then the process exits without it.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an idle blocking thread is kept. A thread that hashed a password holds up to 19 MiB
/// until it ends.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(1);
const EXIT_FAILURE: u8 = 1;
const EXIT_USAGE: u8 = 2;

/// What `run` passes to the program.
#[derive(Clone, Debug)]
pub struct AppContext {
    pub config: Arc<Config>,
    pub shutdown: Shutdown,
    /// The checks that `/readyz` runs. The program adds its own.
    pub health: Health,
    /// The address that the admin listener is bound to.
    pub admin: SocketAddr,
    pub telemetry: Telemetry,
}

#[derive(Debug, Parser)]
struct Arguments {
    /// The configuration file; every setting can also be given as an environment
    /// variable, such as `MINIAPP__API__LISTEN`.
    #[arg(long, value_name = "FILE", env = "MINIAPP_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs a program from its arguments to its exit code: loads the configuration, starts telemetry,
/// signal handling and the admin listener, then runs `serve`. An invalid value in a section that
/// the program reads is a usage error, and so is a key without a default in one of the `schemas`.
pub fn run<F>(program: Program, schemas: &[Schema], serve: impl FnOnce(AppContext) -> F) -> ExitCode
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
    let config = Config::load(schemas, arguments.config.as_deref()).and_then(|config| {
        config.validate(SECTIONS)?;
        config.validate(program.sections)?;
        Ok(config)
    });
    let config = match config {
        Ok(config) => config,
        Err(error) => return exit_with(&error, EXIT_USAGE),
    };
    match run_with(program, config, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A section that the program reads later than the others.
            let code = if error.is::<ConfigError>() { EXIT_USAGE } else { EXIT_FAILURE };
            exit_with(&format_args!("{error:#}"), code)
        }
    }
}

/// Like [`run`], for a program that reads its arguments and configuration itself and reports its
/// own errors.
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
    let guard = FlushGuard(telemetry);
    let served = runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("can't listen for signals")?;
        let listen = admin.address(program.admin_port);
        let listener = self::listen(listen, "admin.listen").await?;
        let health = Health::starting();
        let address =
            listener.local_addr().context("can't read the address of the admin listener")?;
        let admin = tokio::spawn(admin::serve(listener, health.clone(), shutdown.clone()));
        let context = AppContext {
            config: Arc::new(config),
            shutdown: shutdown.clone(),
            health,
            admin: address,
            telemetry: guard.0.clone(),
        };
        let served = tokio::select! {
            served = serve(context) => served,
            () = abort_timeout(&shutdown) => {
                Err(anyhow::anyhow!("stopped without waiting for running work"))
            }
        };
        admin.abort();
        served
    });
    runtime.shutdown_timeout(ABORT_TIMEOUT);
    drop(guard);
    served
}

/// Flushes telemetry when dropped, so also after a panic.
struct FlushGuard(Telemetry);

impl Drop for FlushGuard {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Listens on `address`. `key` is the setting of the address, for the error message.
pub async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let variable = variable_of(key);
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("can't listen on {address} ({key}, {variable})"))
}

async fn abort_timeout(shutdown: &Shutdown) {
    shutdown.aborted().await;
    tokio::time::sleep(ABORT_TIMEOUT).await;
}

fn prepare(program: Program, config: &Config) -> anyhow::Result<(Runtime, Telemetry)> {
    let telemetry = telemetry::init(program.info(), config)?;
    metrics::register_build_info(program.info());
    // Fails if a provider is installed already. The workspace uses only this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .build()
        .context("can't start the runtime")?;
    Ok((runtime, telemetry))
}

/// Raises the soft limit of open files to the hard limit: each connection needs a descriptor. The
/// soft limit exists only for programs that use `select`.
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

fn exit_with(error: &dyn Display, code: u8) -> ExitCode {
    // Sources may contain line breaks; the message is one line.
    let text = error.to_string();
    let text: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    eprintln!("error: {}", escape(&text.join(" ")));
    ExitCode::from(code)
}
