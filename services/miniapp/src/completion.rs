//! Values for shell completion that only the platform knows.

use std::time::Duration;

use clap_complete::CompletionCandidate;
use miniapp_client::{Client, Error, TaskQuery};
use miniapp_worker::Extension;

use crate::context::{Context, GlobalOptions};
use crate::ui::format::{short_id, truncate};

/// Set by the script of `miniapp completions`.
pub const VARIABLE: &str = "MINIAPP_COMPLETE";

/// A shell waits for candidates after each press of the key.
const TIMEOUT: Duration = Duration::from_secs(1);
const MAX_TASKS: u32 = 30;
const MAX_DESCRIPTION: usize = 40;

/// Returns the kinds of task that the workers run.
pub fn kinds() -> Vec<CompletionCandidate> {
    let kinds = fetch(async |client| Ok(client.kinds().await?.kinds));
    let candidate = |name, description: &str| {
        CompletionCandidate::new(name).help(Some(visible(description).into()))
    };
    kinds.into_iter().map(|kind| candidate(kind.name, &kind.description)).collect()
}

/// Returns the short ids of the newest tasks.
pub fn tasks() -> Vec<CompletionCandidate> {
    let query = TaskQuery { limit: Some(MAX_TASKS), ..TaskQuery::default() };
    let tasks = fetch(async |client| Ok(client.tasks(&query).await?.tasks));
    let newest = CompletionCandidate::new("last").help(Some("Your newest task".into()));
    let tasks = tasks.into_iter().map(|task| {
        let help = format!("{}, {}", task.status, visible(&task.description));
        CompletionCandidate::new(short_id(task.task_id)).help(Some(help.into()))
    });
    tasks.chain([newest]).collect()
}

/// Returns nothing if the platform does not answer: there is no place for an error.
fn fetch<T>(call: impl AsyncFnOnce(Client) -> Result<Vec<T>, Error>) -> Vec<T> {
    // Of the options on the command line only the program has them.
    let options = GlobalOptions::from_environment();
    let Ok(client) = Context::new(options, false, Extension::default()).client() else {
        return Vec::new();
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, call(client)).await });
    answer.ok().and_then(Result::ok).unwrap_or_default()
}

fn visible(text: &str) -> String {
    miniapp_runtime::terminal::escape(&truncate(text, MAX_DESCRIPTION)).into_owned()
}
