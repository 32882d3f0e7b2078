//! All tasks of the demo, live.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use indicatif::MultiProgress;
use miniapp_client::{Client, EventStream};
use miniapp_types::task::{Event, EventType, Task};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::Outcome;
use super::cases::Case;
use crate::ui::{TaskBar, Ui, event_line};

/// How long a task runs before its owner changes his mind.
const RUNS: Duration = Duration::from_millis(1500);

/// The tasks that run, on one stream of events.
pub struct Live {
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

impl Live {
    /// Listens before the first task is there, so that nothing is missed.
    pub async fn begin(ui: Ui, client: &Client) -> anyhow::Result<Self> {
        let events = client.watch_all().await?;
        let bars = (!ui.json && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Ok(Self { ui, bars, events, running: Vec::new() })
    }

    /// One more.
    pub fn add(&mut self, case: Case, task: &Task) {
        let place = |bars: &MultiProgress| {
            TaskBar::new(&format!("  {:<9} {:<17}", task.kind, case.name), self.ui.notes, |bar| {
                bars.add(bar)
            })
        };
        let bar = self.bars.as_ref().map(place);
        self.running.push(Running { case, id: task.task_id, bar, ended: false });
    }

    /// Follows all to their ends.
    pub async fn follow(mut self, client: &Client) -> anyhow::Result<Vec<Outcome>> {
        let mut cancel = None;
        while self.running.iter().any(|running| !running.ended) {
            let event = tokio::select! {
                event = self.events.try_next() => event?.context("the stream of events ended")?,
                () = due(cancel.as_ref()) => {
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
            if running.case.canceled && event.kind == EventType::Started {
                cancel = Some((Instant::now() + RUNS, running.id));
            }
            match &running.bar {
                Some(bar) => bar.show(&event),
                None => tell(self.ui, &running.case, &event)?,
            }
        }
        if self.bars.is_some() {
            // The last bar leaves the cursor behind itself.
            self.ui.note("");
        }
        let mut outcomes = Vec::new();
        for Running { case, id, .. } in self.running {
            outcomes.push(Outcome { case, task: client.task(id).await? });
        }
        Ok(outcomes)
    }
}

async fn due(cancel: Option<&(Instant, Uuid)>) {
    match cancel {
        Some((at, _)) => sleep_until(*at).await,
        None => std::future::pending().await,
    }
}

/// Where no bar can move, each step is a line.
fn tell(ui: Ui, case: &Case, event: &Event) -> std::io::Result<()> {
    if ui.json || event.kind == EventType::Progress {
        return Ok(());
    }
    ui.line(format_args!("  {:<18} {}", case.name, event_line(ui.palette, event)))
}
