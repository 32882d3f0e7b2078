//! Mail and ended tasks, as they come.

use std::time::Duration;

use miniapp_accounts::mail::InboxMail;
use miniapp_broker::{Received, Subscription, Topic};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::Task;
use miniapp_telemetry::Telemetry;
use miniapp_telemetry::trace::Tree;
use miniapp_types::message::RawTaskEvents;
use miniapp_types::task::EventType;
use opentelemetry::trace::TraceId;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::steps;
use super::trees::Budget;
use crate::platform::{Addresses, Platform};
use crate::ui::words::{between, count, grouped, shortened};
use crate::ui::{Tone, Ui, status_line};

/// A trace whose last spans take longer than that is shown without them.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often those that were passed over are summed up.
const SUM_UP: Duration = Duration::from_secs(5);

/// Tells where the platform listens, then every mail and, to people, how tasks ended;
/// forever.
pub async fn tell(
    ui: Ui,
    platform: &Platform,
    telemetry: &Telemetry,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let teller = Teller { ui, platform, telemetry };
    teller.welcome();
    // Scripts hear of tasks from the API.
    let ended =
        if ui.json { None } else { Some(platform.broker.subscribe(Topic::TaskEvents).await?) };
    tokio::try_join!(teller.mails(), teller.tasks(ended), teller.end(shutdown))?;
    Ok(())
}

struct Teller<'a> {
    ui: Ui,
    platform: &'a Platform,
    telemetry: &'a Telemetry,
}

impl Teller<'_> {
    /// Writes a line. The platform goes on when whoever read has left.
    fn line(&self, text: impl std::fmt::Display) {
        let _ = self.ui.line(text);
    }

    fn welcome(&self) {
        let Addresses { api, auth, admin } = self.platform.addresses;
        if self.ui.json {
            self.line(json!({"event": "listening", "api": api, "auth": auth, "admin": admin}));
            return;
        }
        let at = &self.platform.addresses;
        let (strong, dim) = (
            |text: &str| self.ui.palette.paint(Tone::Strong, text),
            |text: String| self.ui.palette.paint(Tone::Dim, text),
        );
        self.line(format_args!("{} is up.\n", strong("MiniApp")));
        self.line(format_args!(
            "  Tasks     {}  {}",
            at.api_url(),
            dim(format!("{}/docs", at.api_url()))
        ));
        self.line(format_args!(
            "  Accounts  {}  {}",
            at.auth_url(),
            dim(format!("{}/docs", at.auth_url()))
        ));
        self.line(format_args!(
            "  Health    http://{admin}/readyz  {}",
            dim(format!("http://{admin}/metrics"))
        ));
        self.line(format_args!("  Files     {}\n", self.platform.data_dir().display()));
        let program = std::env::args().next().unwrap_or_else(|| "miniapp".to_owned());
        self.line(format_args!(
            "Make an account in another terminal with `{program} register`, or by hand:\n"
        ));
        self.line(format_args!("  {}\n", steps::ask_for_code(at)));
        self.line(
            "The mail with the code shows up here, with the lines that use it. Ctrl-C stops.\n",
        );
    }

    async fn end(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        shutdown.begun().await;
        if self.ui.json {
            self.line(json!({"event": "stopping"}));
        } else {
            self.line("Stopping: running tasks may end. Ctrl-C once more stops at once.");
        }
        std::future::pending().await
    }

    async fn mails(&self) -> anyhow::Result<()> {
        let mut mails = self.platform.mails.subscribe();
        loop {
            match mails.recv().await {
                Ok(mail) => self.mail(&mail),
                Err(RecvError::Lagged(missed)) => {
                    self.line(format_args!("(and {missed} more mails; see `miniapp mail`)"));
                }
                // No more mail will come, which must not end the rest.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    fn mail(&self, InboxMail { mail, at }: &InboxMail) {
        if self.ui.json {
            self.line(json!({
                "event": "mail",
                "at": at,
                "to": mail.to,
                "subject": mail.subject,
                "text": mail.text,
                "code": mail.code(),
            }));
            return;
        }
        self.line(
            self.ui.palette.paint(Tone::Strong, format!("Mail to {}: {}", mail.to, mail.subject)),
        );
        for line in mail.text.trim_end().lines() {
            self.line(format_args!("  {line}").to_string().trim_end());
        }
        self.line("");
        if let Some(code) = mail.code().filter(|_| mail.subject.contains("verification")) {
            for line in steps::use_code(&self.platform.addresses, mail, code) {
                self.line(format_args!("  {line}"));
            }
            self.line("");
        }
    }

    async fn tasks(&self, ended: Option<Box<dyn Subscription>>) -> anyhow::Result<()> {
        let Some(mut ended) = ended else { return std::future::pending().await };
        let mut budget = Budget::new(Instant::now());
        let mut sum_up = interval(SUM_UP);
        sum_up.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = ended.next() => match received {
                    Some(Received::Message(message)) => {
                        for (owner, task) in ends(&message.body) {
                            if budget.take(Instant::now()) {
                                self.task(owner, task).await;
                            }
                        }
                    }
                    Some(Received::Gap | Received::Probe(_)) => {}
                    None => return std::future::pending().await,
                },
                _ = sum_up.tick() => match budget.passed_over() {
                    0 => {}
                    others => self.line(self.ui.palette.paint(
                        Tone::Dim,
                        format!("... and {} more tasks ended", grouped(others)),
                    )),
                },
            }
        }
    }

    /// Tells how a task ended, unless the store can't be asked, which is no reason to end.
    async fn task(&self, owner: Uuid, id: Uuid) {
        let Ok(Some(task)) = self.platform.tasks.get(owner, id).await else { return };
        self.line(ended_line(self.ui, &task));
        let id = task.spec.trace.trace_id().and_then(|id| TraceId::from_hex(id).ok());
        let trace = match id {
            Some(id) => self.telemetry.spans().wait_until_complete(id, PATIENCE).await,
            None => None,
        };
        if let Some(trace) = trace {
            let tree = Tree::new(&trace, self.ui.width().saturating_sub(2));
            for line in tree.colored(self.ui.palette.is_on()).to_string().lines() {
                self.line(format_args!("  {line}"));
            }
            self.line("");
        }
    }
}

/// The tasks that ended by a message's events, and their owners.
fn ends(body: &[u8]) -> Vec<(Uuid, Uuid)> {
    let Ok(events) = RawTaskEvents::read(body) else { return Vec::new() };
    let ends = events.events.iter().filter_map(|event| {
        let head = event.head().ok()?;
        let is_end =
            matches!(head.kind, EventType::Finished | EventType::Canceled | EventType::Failed);
        is_end.then_some((event.user_id, head.task_id))
    });
    ends.collect()
}

/// How a task ended, in a line.
fn ended_line(ui: Ui, task: &Task) -> String {
    let Task { id, spec, state, .. } = task;
    let ended = state.finished_at.unwrap_or(spec.created_at);
    // When it was restarted, the task itself doesn't say.
    let begun = state.started_at.filter(|_| state.generation > 1);
    let took = between(begun.unwrap_or(spec.created_at), ended);
    let attempts = match state.attempt {
        0 | 1 => String::new(),
        more => format!(" and {}", count(more as usize, "attempt")),
    };
    let status = status_line(ui.palette, state.status, state.message.as_deref());
    let id = ui.palette.paint(Tone::Dim, id);
    format!(
        "{} ({}) after {took}{attempts}: {status}  {id}",
        ui.palette.paint(Tone::Strong, shortened(&spec.description, 60)),
        spec.kind
    )
}
