//! `miniapp demo`: runs a short demonstration on a temporary platform.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use miniapp_config::{Config, ConfigError};
use miniapp_program::AppContext;
use miniapp_runtime::data_dir::DataDir;
use tempfile::TempDir;

use crate::context::Context;
use crate::demo;
use crate::exit::{self, Outcome};
use crate::platform::Platform;
use crate::program::PROGRAM;
use crate::ui::Ui;

pub fn run(context: &Context) -> ExitCode {
    let ui = context.ui;
    let result = prepare().and_then(|(_temporary, config, directory)| {
        miniapp_program::run_with(PROGRAM, config, move |context| run_demo(ui, context, directory))
    });
    exit::report(ui, &result.map(|()| Outcome::Success))
}

fn prepare() -> anyhow::Result<(TempDir, Config, DataDir)> {
    let temporary = tempfile::tempdir().context("cannot create a temporary directory")?;
    let config = config(temporary.path())?;
    let directory = DataDir::lock(config.data_dir())?;
    Ok((temporary, config, directory))
}

/// Ignores the configuration: the demo uses only its own directory and free ports.
fn config(directory: &Path) -> Result<Config, ConfigError> {
    let directory = directory.display().to_string();
    let settings = [
        ("MINIAPP__DATA_DIR", directory.as_str()),
        ("MINIAPP__API__LISTEN", "127.0.0.1:0"),
        ("MINIAPP__AUTH__LISTEN", "127.0.0.1:0"),
        ("MINIAPP__ADMIN__LISTEN", "127.0.0.1:0"),
        // A task of kind `http` fetches a page of this platform.
        ("MINIAPP__WORKER__HTTP_ALLOW_PRIVATE", "true"),
        ("MINIAPP__LOG__LEVEL", "error"),
        ("MINIAPP__TELEMETRY__SAMPLER", "always_on"),
    ];
    Config::load_from(None, settings.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

async fn run_demo(ui: Ui, context: AppContext, directory: DataDir) -> anyhow::Result<()> {
    let (telemetry, shutdown) = (context.telemetry.clone(), context.shutdown.clone());
    let (platform, running) = Platform::start(context, directory).await?;
    let stopped = running.wait();
    tokio::pin!(stopped);
    let result = tokio::select! {
        result = &mut stopped => return result,
        result = demo::run(ui, &platform, &telemetry) => result,
        () = shutdown.begun() => {
            // Nobody needs the results of running tasks.
            shutdown.abort();
            Err(anyhow!("the demo was interrupted"))
        }
    };
    shutdown.begin();
    stopped.await?;
    // `miniapp demo | head` is no failure.
    result.or_else(|error| if exit::is_broken_pipe(&error) { Ok(()) } else { Err(error) })
}
