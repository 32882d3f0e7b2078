//! `miniapp worker`: runs a command for each task of a kind.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::worker::WorkerKind;
use serde_json::Value;

use crate::command_worker::CommandWorker;
use crate::context::Context;

/// The grace period, if none is given.
const DEFAULT_GRACE: u64 = 30;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kind of the tasks to run
    #[arg(long, value_name = "NAME")]
    kind: String,

    /// Queue of the kind
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,

    /// Take tasks from these queues only; can be repeated
    #[arg(long = "from", value_name = "QUEUE")]
    queues: Vec<String>,

    /// What the kind does
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// JSON Schema of the data
    #[arg(long, value_name = "JSON", value_parser = json)]
    schema: Option<Value>,

    /// Name of this worker [default: host name and process id]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// How many commands run at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,

    /// Seconds that running commands have to end at a shutdown
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_GRACE)]
    grace: u64,

    /// Command and its arguments. The data of the task is its standard input, its standard output
    /// is the result. Exit code 75 retries the task, others fail it
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let Args { kind, queue, queues, description, schema, name, concurrency, grace, command } = args;
    let program = &command[0];
    ensure!(is_executable(program), "no such command: {}", program.to_string_lossy());
    let worker = CommandWorker {
        client: context.client()?,
        ui: context.ui,
        name: name.unwrap_or_else(default_name),
        kind: WorkerKind { name: kind, description, data_schema: schema, example: None, queue },
        command,
        queues: (!queues.is_empty()).then_some(queues),
        concurrency,
        grace: Duration::from_secs(grace),
    };
    let shutdown = Shutdown::on_signals()?;
    Ok(Box::pin(worker.run(&shutdown)).await?)
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

fn default_name() -> String {
    let system = rustix::system::uname();
    format!("{}-{}", system.nodename().to_string_lossy(), std::process::id())
}

/// Whether a command can be started, as far as its file shows.
fn is_executable(program: &OsStr) -> bool {
    let is_file = |path: &Path| path.metadata().is_ok_and(|file| file.is_file());
    if Path::new(program).components().count() > 1 {
        return is_file(Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| is_file(&directory.join(program)))
}
