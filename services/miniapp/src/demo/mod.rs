//! A demonstration: runs tasks of every kind and shows what happens to them.

mod account;
mod cases;
mod console;
mod live;
mod result;
mod summary;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use miniapp_client::Client;
use miniapp_telemetry::Telemetry;
use miniapp_types::task::{Event, Status, Task};
use opentelemetry::trace::TraceId;

use crate::platform::Platform;
use crate::ui::TraceTree;
use crate::ui::Ui;
use crate::ui::format::between;
use crate::why;

use console::Console;
use live::LiveView;
use result::CaseResult;

const TIMEOUT: Duration = Duration::from_mins(1);
/// A trace is shown without spans that take longer than this to arrive.
const TRACE_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the demo on `platform`. Fails if a task ends otherwise than expected.
pub async fn run(ui: Ui, platform: &Platform, telemetry: &Telemetry) -> anyhow::Result<()> {
    let demo = Demo { ui, console: Console(ui), platform, telemetry };
    tokio::time::timeout(TIMEOUT, demo.run()).await.context("the demo took too long")?
}

struct Demo<'a> {
    ui: Ui,
    console: Console,
    platform: &'a Platform,
    telemetry: &'a Telemetry,
}

impl Demo<'_> {
    async fn run(&self) -> anyhow::Result<()> {
        let Self { console, platform, .. } = self;
        let started = platform.now();
        let at = &platform.addresses;
        console.title("Start a temporary platform")?;
        console.print(format_args!(
            "  tasks at {}, accounts at {}",
            at.api_url(),
            at.auth_url()
        ))?;
        console.title("Create an account over HTTP")?;
        let client = account::sign_up(*console, platform).await?;
        console.title("Run tasks")?;
        let results = self.run_tasks(&client).await?;
        self.show_details(&client, &results).await?;
        console.title("Summary")?;
        summary::print(self.ui, &results)?;
        let unexpected = results.iter().filter(|result| !result.is_as_expected()).count();
        ensure!(unexpected == 0, "{unexpected} of {} tasks ended unexpectedly", results.len());
        let took = between(started, platform.now());
        console.print("")?;
        console.print(format_args!(
            "The demo took {took} and left no files. Start a permanent platform with `miniapp`."
        ))
    }

    /// Submits all tasks and waits until they have ended.
    async fn run_tasks(&self, client: &Client) -> anyhow::Result<Vec<CaseResult>> {
        let page = format!("{}/openapi.json", self.platform.addresses.api_url());
        let mut live = LiveView::open(self.ui, client).await?;
        for case in cases::cases(&page) {
            let task = client.submit(&case.task.clone().into()).await?;
            live.add(case, &task);
        }
        live.wait(client).await
    }

    /// Shows the trace of a task that was retried, and explains one that was stopped.
    async fn show_details(&self, client: &Client, results: &[CaseResult]) -> anyhow::Result<()> {
        if self.ui.json {
            return Ok(());
        }
        if let Some(retried) = results.iter().find(|result| result.case.expected_attempts > 1) {
            self.console.title(&format!("Trace of the task that {}", retried.case.name))?;
            self.show_trace(&retried.task).await?;
        }
        let stopped = results.iter().find(|result| {
            result.case.expected_status != Status::Finished && !result.case.is_canceled
        });
        if let Some(stopped) = stopped {
            self.console.title(&format!("Explanation of the task that {}", stopped.case.name))?;
            let events = client.timeline(stopped.task.task_id).await?.events;
            self.explain(&stopped.task, &events)?;
        }
        Ok(())
    }

    async fn show_trace(&self, task: &Task) -> anyhow::Result<()> {
        let id = task.trace_id.as_deref().and_then(|id| TraceId::from_hex(id).ok());
        let id = id.context("the task has no trace")?;
        let trace = self.telemetry.spans().wait_until_complete(id, TRACE_TIMEOUT).await;
        let trace = trace.context("the trace was not recorded")?;
        let tree = TraceTree::new(&trace, self.ui.width().saturating_sub(2));
        self.console.print(tree.colored(self.ui.palette.is_on()).to_text().indented())
    }

    fn explain(&self, task: &Task, events: &[Event]) -> anyhow::Result<()> {
        let facts = why::Facts { task, events, workers: &[], now: self.platform.now() };
        let explanation = why::explain(facts);
        self.console.print(format_args!("  {}", explanation.reason))?;
        self.console.print(format_args!("  {}", explanation.next))
    }
}
