//! `miniapp serve`: runs the whole platform in this process.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use miniapp_config::{Config, Setting, Source};
use miniapp_program::AppContext;
use miniapp_runtime::data_dir::DataDir;
use miniapp_worker::kinds::Kinds;

use crate::context::Context;
use crate::exit::{self, Outcome};
use crate::platform::Platform;
use crate::program::PROGRAM;
use crate::serve;
use crate::ui::Ui;

pub fn run(context: &Context) -> ExitCode {
    let ui = context.ui;
    let result = prepare(context).and_then(|(config, directory)| {
        let kinds = context.extension.kinds(&config)?;
        miniapp_program::run_with(PROGRAM, config, |context| serve(ui, context, directory, kinds))
    });
    exit::report(ui, &result.map(|()| Outcome::Success))
}

/// Locks the directory before anything else: if another process runs there, the error must
/// say so, and not that a port is taken.
fn prepare(context: &Context) -> anyhow::Result<(Config, DataDir)> {
    let mut config = context.config()?;
    let is_default =
        |setting: &Setting| setting.key == "log.level" && setting.source == Source::Default;
    if std::io::stderr().is_terminal() && config.settings().iter().any(is_default) {
        // A log line per request would hide the mails and traces.
        config = config.with("log.level", "warn");
    }
    let directory = DataDir::lock(config.data_dir())?;
    Ok((config, directory))
}

async fn serve(
    ui: Ui,
    context: AppContext,
    directory: DataDir,
    kinds: Kinds,
) -> anyhow::Result<()> {
    let (telemetry, shutdown) = (context.telemetry.clone(), context.shutdown.clone());
    let starting = Box::pin(Platform::start(context, directory, kinds));
    let started = shutdown.token().run_until_cancelled_owned(starting);
    let Some((platform, running)) = started.await.transpose()? else { return Ok(()) };
    tokio::select! {
        result = running.wait() => result,
        never = serve::report(ui, &platform, &telemetry, &shutdown) => match never {},
    }
}
