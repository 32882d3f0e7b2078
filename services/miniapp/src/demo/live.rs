//! Shows the running tasks of the demo.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use indicatif::MultiProgress;
use miniapp_client::{Client, EventStream};
use miniapp_types::task::{Event, EventType, Task};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::cases::Case;
use super::result::CaseResult;
use crate::ui::{TaskBar, Ui, event_line, text};

/// How long a task runs before it is canceled.
const CANCEL_DELAY: Duration = Duration::from_millis(1500);

/// Running tasks, updated by one event stream.
pub struct LiveView {
    ui: Ui,
    bars: Option<MultiProgress>,
    events: EventStream,
    running: Vec<Running>,
}

struct Running {
    case: Case,
    id: Uuid,
    bar: Option<TaskBar>,
    ended: bool,
}

impl LiveView {
    /// Subscribes to events. Must be called before tasks are submitted.
    pub async fn open(ui: Ui, client: &Client) -> anyhow::Result<Self> {
        let events = client.watch_all().await?;
        let bars = (!ui.json && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Ok(Self { ui, bars, events, running: Vec::new() })
    }

    pub fn add(&mut self, case: Case, task: &Task) {
        let new_bar = |bars: &MultiProgress| {
            TaskBar::new(&format!("  {:<9} {:<17}", task.kind, case.name), self.ui.notes, |bar| {
                bars.add(bar)
            })
        };
        let bar = self.bars.as_ref().map(new_bar);
        self.running.push(Running { case, id: task.task_id, bar, ended: false });
    }

    /// Waits until all tasks have ended.
    pub async fn wait(mut self, client: &Client) -> anyhow::Result<Vec<CaseResult>> {
        let mut cancel = None;
        while self.running.iter().any(|running| !running.ended) {
            let event = tokio::select! {
                event = self.events.try_next() => event?.context("the event stream ended")?,
                () = sleep_until_due(cancel.as_ref()) => {
                    if let Some((_, id)) = cancel.take() {
                        client.cancel(id).await?;
                    }
                    continue;
                }
            };
            let Some(running) = self.running.iter_mut().find(|it| it.id == event.task_id) else {
                continue;
            };
            running.ended |= event.status.is_terminal();
            if running.case.is_canceled && event.kind == EventType::Started {
                cancel = Some((Instant::now() + CANCEL_DELAY, running.id));
            }
            match &running.bar {
                Some(bar) => bar.update(&event),
                None => print_event(self.ui, &running.case, &event)?,
            }
        }
        if self.bars.is_some() {
            // The last bar leaves the cursor on its own line.
            self.ui.note("");
        }
        let mut results = Vec::new();
        for Running { case, id, .. } in self.running {
            results.push(CaseResult { case, task: client.task(id).await? });
        }
        Ok(results)
    }
}

async fn sleep_until_due(cancel: Option<&(Instant, Uuid)>) {
    match cancel {
        Some((at, _)) => sleep_until(*at).await,
        None => std::future::pending().await,
    }
}

/// Prints an event, for output without progress bars.
fn print_event(ui: Ui, case: &Case, event: &Event) -> std::io::Result<()> {
    if ui.json || event.kind == EventType::Progress {
        return Ok(());
    }
    ui.line(text![format_args!("  {:<18} ", case.name), event_line(ui.palette, event)])
}
