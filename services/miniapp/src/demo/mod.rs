//! The platform at work, from nothing to a summary, in some seconds.

mod account;
mod cases;
mod live;
mod summary;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use miniapp_client::Client;
use miniapp_telemetry::Telemetry;
use miniapp_telemetry::trace::Tree;
use miniapp_types::task::{Event, Task};
use opentelemetry::trace::TraceId;

use crate::platform::Platform;
use crate::ui::words::between;
use crate::ui::{Tone, Ui};
use crate::why;

use cases::Case;

/// The demo ends, one way or another, within this.
const LIMIT: Duration = Duration::from_mins(1);
/// How long the last spans of a trace may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of a case.
pub struct Outcome {
    case: Case,
    task: Task,
}

impl Outcome {
    fn is_as_expected(&self) -> bool {
        self.task.status == self.case.ends && self.task.attempt == self.case.attempts
    }
}

/// Shows `platform` at work; fails where a task ends otherwise than it should.
pub async fn show(ui: Ui, platform: &Platform, telemetry: &Telemetry) -> anyhow::Result<()> {
    let demo = Demo { ui, platform, telemetry };
    tokio::time::timeout(LIMIT, demo.show()).await.context("the demo took too long")?
}

struct Demo<'a> {
    ui: Ui,
    platform: &'a Platform,
    telemetry: &'a Telemetry,
}

impl Demo<'_> {
    async fn show(&self) -> anyhow::Result<()> {
        let begun = self.platform.now();
        let at = &self.platform.addresses;
        self.title("A platform of its own")?;
        self.say(format_args!("  tasks at {}, accounts at {}", at.api_url(), at.auth_url()))?;
        self.title("An account, over HTTP")?;
        let client = account::sign_up(self).await?;
        self.title("Tasks")?;
        let outcomes = self.run(&client).await?;
        self.tell_more(&client, &outcomes).await?;
        self.title("Summary")?;
        summary::tell(self.ui, &outcomes)?;
        let odd = outcomes.iter().filter(|outcome| !outcome.is_as_expected()).count();
        ensure!(odd == 0, "{odd} of {} tasks ended otherwise than expected", outcomes.len());
        let took = between(begun, self.platform.now());
        self.say(format_args!(
            "\nAll of this in {took}, and gone again. `miniapp` starts a platform that stays."
        ))
    }

    /// Submits all cases and follows them to their ends.
    async fn run(&self, client: &Client) -> anyhow::Result<Vec<Outcome>> {
        let page = format!("{}/openapi.json", self.platform.addresses.api_url());
        let mut live = live::Live::begin(self.ui, client).await?;
        for case in cases::cases(&page) {
            let task = client.submit(&case.task.clone().into()).await?;
            live.add(case, &task);
        }
        live.follow(client).await
    }

    /// The trace of the task that was retried, and why another one was stopped.
    async fn tell_more(&self, client: &Client, outcomes: &[Outcome]) -> anyhow::Result<()> {
        if self.ui.json {
            return Ok(());
        }
        let retried = outcomes.iter().find(|outcome| outcome.case.attempts > 1);
        if let Some(retried) = retried {
            self.title(&format!("The trace of the task that {}", retried.case.name))?;
            self.trace(&retried.task).await?;
        }
        let stopped = outcomes.iter().find(|outcome| {
            outcome.case.ends != miniapp_types::task::Status::Finished && !outcome.case.canceled
        });
        if let Some(stopped) = stopped {
            self.title(&format!("Why the task that {} ended", stopped.case.name))?;
            let events = client.timeline(stopped.task.task_id).await?.events;
            self.why(&stopped.task, &events)?;
        }
        Ok(())
    }

    async fn trace(&self, task: &Task) -> anyhow::Result<()> {
        let id = task.trace_id.as_deref().and_then(|id| TraceId::from_hex(id).ok());
        let id = id.context("the task has no trace")?;
        let trace = self.telemetry.spans().wait_until_complete(id, PATIENCE).await;
        let trace = trace.context("the trace was not kept")?;
        let tree = Tree::new(&trace, self.ui.width().saturating_sub(2));
        for line in tree.colored(self.ui.palette.is_on()).to_string().lines() {
            self.say(format_args!("  {line}"))?;
        }
        Ok(())
    }

    fn why(&self, task: &Task, events: &[Event]) -> anyhow::Result<()> {
        let case = why::Case { task, events, workers: &[], now: self.platform.now() };
        let told = why::explain(case);
        self.say(format_args!("  {}\n  {}", told.because, told.next))
    }

    fn title(&self, text: &str) -> anyhow::Result<()> {
        self.say(format_args!("\n{}", self.ui.palette.paint(Tone::Strong, text)))
    }

    /// Says something to people.
    fn say(&self, text: impl std::fmt::Display) -> anyhow::Result<()> {
        if !self.ui.json {
            self.ui.line(text)?;
        }
        Ok(())
    }
}
