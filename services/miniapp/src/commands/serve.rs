//! `miniapp` and `miniapp serve`: the whole platform in this process.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use miniapp_config::{Config, Setting, Source};
use miniapp_program::AppContext;
use miniapp_runtime::data_dir::DataDir;

use crate::PROGRAM;
use crate::context::Context;
use crate::failure::{self, Ended};
use crate::platform::Platform;
use crate::serve;
use crate::ui::Ui;

/// Runs the command.
pub fn run(context: &Context) -> ExitCode {
    let ui = context.ui;
    let served = prepare(context).and_then(|(config, directory)| {
        miniapp_program::run_with(PROGRAM, config, move |context| platform(ui, context, directory))
    });
    failure::exit(ui, &served.map(|()| Ended::Well))
}

/// The directory comes before anything else: where another process is at work, that is
/// what has to be said, not which port is taken.
fn prepare(context: &Context) -> anyhow::Result<(Config, DataDir)> {
    let mut config = context.config()?;
    let is_default =
        |setting: &Setting| setting.key == "log.level" && setting.source == Source::Default;
    if std::io::stderr().is_terminal() && config.settings().iter().any(is_default) {
        // A line for each request would bury the mails and traces that people look for.
        config = config.with("log.level", "warn");
    }
    let directory = DataDir::lock(config.data_dir())?;
    Ok((config, directory))
}

async fn platform(ui: Ui, context: AppContext, directory: DataDir) -> anyhow::Result<()> {
    let (telemetry, shutdown) = (context.telemetry.clone(), context.shutdown.clone());
    let starting = Box::pin(Platform::start(context, directory));
    let started = shutdown.token().run_until_cancelled_owned(starting);
    let Some((platform, running)) = started.await.transpose()? else { return Ok(()) };
    tokio::select! {
        ended = running.ended() => ended,
        told = serve::tell(ui, &platform, &telemetry, &shutdown) => {
            told.context("can't follow the platform")
        }
    }
}
