//! `miniapp demo`: everything at work, on a platform of its own.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use miniapp_config::{Config, ConfigError};
use miniapp_program::AppContext;
use miniapp_runtime::data_dir::DataDir;
use tempfile::TempDir;

use crate::PROGRAM;
use crate::context::Context;
use crate::demo;
use crate::failure::{self, Ended};
use crate::platform::Platform;
use crate::ui::Ui;

/// Runs the command.
pub fn run(context: &Context) -> ExitCode {
    let ui = context.ui;
    let shown = prepare().and_then(|(_temporary, config, directory)| {
        miniapp_program::run_with(PROGRAM, config, move |context| show(ui, context, directory))
    });
    failure::exit(ui, &shown.map(|()| Ended::Well))
}

fn prepare() -> anyhow::Result<(TempDir, Config, DataDir)> {
    let temporary = tempfile::tempdir().context("no temporary directory for the demo")?;
    let config = config(temporary.path())?;
    let directory = DataDir::lock(config.data_dir())?;
    Ok((temporary, config, directory))
}

/// Whatever is configured, the demo touches nothing but a directory of its own and free
/// ports.
fn config(directory: &Path) -> Result<Config, ConfigError> {
    let directory = directory.display().to_string();
    let settings = [
        ("MINIAPP__DATA_DIR", directory.as_str()),
        ("MINIAPP__API__LISTEN", "127.0.0.1:0"),
        ("MINIAPP__AUTH__LISTEN", "127.0.0.1:0"),
        ("MINIAPP__ADMIN__LISTEN", "127.0.0.1:0"),
        // Its `http` task fetches a page of the demo's own.
        ("MINIAPP__WORKER__HTTP_ALLOW_PRIVATE", "true"),
        ("MINIAPP__LOG__LEVEL", "error"),
        ("MINIAPP__TELEMETRY__SAMPLER", "always_on"),
    ];
    Config::load_from(None, settings.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

async fn show(ui: Ui, context: AppContext, directory: DataDir) -> anyhow::Result<()> {
    let (telemetry, shutdown) = (context.telemetry.clone(), context.shutdown.clone());
    let (platform, running) = Platform::start(context, directory).await?;
    let ended = running.ended();
    tokio::pin!(ended);
    let shown = tokio::select! {
        ended = &mut ended => return ended,
        shown = demo::show(ui, &platform, &telemetry) => shown,
        () = shutdown.begun() => {
            // What still runs was for show.
            shutdown.abort();
            Err(anyhow!("the demo was stopped"))
        }
    };
    shutdown.begin();
    ended.await?;
    // `miniapp demo | head` has what it wanted.
    shown.or_else(|error| if failure::is_reader_gone(&error) { Ok(()) } else { Err(error) })
}
