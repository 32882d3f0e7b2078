//! `miniapp demo`: runs a short demonstration on a temporary platform.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use miniapp_config::{Config, ConfigError};
use miniapp_program::AppContext;
use miniapp_runtime::data_dir::DataDir;
use miniapp_worker::Extension;
use miniapp_worker::kinds::Kinds;
use tempfile::TempDir;

use crate::context::Context;
use crate::demo;
use crate::exit::{self, Outcome};
use crate::platform::Platform;
use crate::program::PROGRAM;
use crate::ui::Ui;

pub fn run(context: &Context) -> ExitCode {
    let ui = context.ui;
    let extension = &context.extension;
    let result = prepare(extension).and_then(|(_temporary, config, directory)| {
        let kinds = extension.kinds(&config)?;
        miniapp_program::run_with(PROGRAM, config, |context| {
            run_demo(ui, context, directory, kinds)
        })
    });
    exit::report(ui, &result.map(|()| Outcome::Success))
}

fn prepare(extension: &Extension) -> anyhow::Result<(TempDir, Config, DataDir)> {
    let temporary = tempfile::tempdir().context("cannot create a temporary directory")?;
    let config = config(extension, temporary.path())?;
    let directory = DataDir::lock(config.data_dir())?;
    Ok((temporary, config, directory))
}

/// Ignores the configuration: the demo uses only its own directory and free ports.
fn config(extension: &Extension, directory: &Path) -> Result<Config, ConfigError> {
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
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::load_schemas(extension.schemas(), None, settings)
}

async fn run_demo(
    ui: Ui,
    context: AppContext,
    directory: DataDir,
    kinds: Kinds,
) -> anyhow::Result<()> {
    let (telemetry, shutdown) = (context.telemetry.clone(), context.shutdown.clone());
    let (platform, running) = Platform::start(context, directory, kinds).await?;
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
