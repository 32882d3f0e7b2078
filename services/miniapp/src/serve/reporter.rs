//! Reports mail and ended tasks on the console.

use std::convert::Infallible;
use std::time::Duration;

use miniapp_accounts::mail::InboxMail;
use miniapp_broker::{Received, Subscription, Topic};
use miniapp_runtime::retry::Retry;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::Task;
use miniapp_telemetry::Telemetry;
use miniapp_types::message::RawTaskEvents;
use miniapp_types::task::EventType;
use opentelemetry::trace::TraceId;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::curl;
use super::throttle::Throttle;
use crate::platform::{Addresses, Platform};
use crate::ui::format::{between, count, grouped, truncate};
use crate::ui::{Text, Tone, TraceTree, Ui, status_line, text};

/// A trace is shown without spans that take longer than this to arrive.
const TRACE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the number of running tasks is read while the platform stops.
const STOP_INTERVAL: Duration = Duration::from_secs(1);
/// How often the number of skipped tasks is reported.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(5);

/// Prints where the platform listens once the broker is available, each mail and, unless the
/// output is JSON, each ended task. Runs until it is dropped.
pub async fn report(
    ui: Ui,
    platform: &Platform,
    telemetry: &Telemetry,
    shutdown: &Shutdown,
) -> Infallible {
    let reporter = Reporter { ui, platform, telemetry };
    let tasks = async {
        reporter.wait_for_broker().await;
        reporter.welcome();
        // Scripts can watch tasks through the API.
        if !ui.json {
            reporter.tasks().await;
        }
    };
    let (.., never) = tokio::join!(tasks, reporter.mails(), reporter.shutdown(shutdown));
    never
}

struct Reporter<'a> {
    ui: Ui,
    platform: &'a Platform,
    telemetry: &'a Telemetry,
}

impl Reporter<'_> {
    /// Prints a line. The platform keeps running if nobody reads its output.
    fn line(&self, text: impl Into<Text>) {
        let _ = self.ui.line(text);
    }

    fn json(&self, event: &Value) {
        let _ = self.ui.json_line(event);
    }

    fn welcome(&self) {
        let Addresses { api, auth, admin } = self.platform.addresses;
        if self.ui.json {
            self.json(&json!({"event": "listening", "api": api, "auth": auth, "admin": admin}));
            return;
        }
        let at = &self.platform.addresses;
        let (strong, dim) = (
            |text: &str| self.ui.palette.paint(Tone::Strong, text),
            |text: String| self.ui.palette.paint(Tone::Dim, text),
        );
        self.line(text![strong("MiniApp"), " is running."]);
        self.line("");
        let (api, auth) = (at.api_url(), at.auth_url());
        self.line(text!["  Tasks     ", &api, "  ", dim(format!("{api}/docs"))]);
        self.line(text!["  Accounts  ", &auth, "  ", dim(format!("{auth}/docs"))]);
        let health = format!("  Health    http://{admin}/readyz  ");
        self.line(text![health, dim(format!("http://{admin}/metrics"))]);
        self.line(format_args!("  Files     {}", self.platform.data_dir().display()));
        self.line("");
        let program = std::env::args().next().unwrap_or_else(|| "miniapp".to_owned());
        self.line(format_args!(
            "Create an account in another terminal with `{program} register`, or with curl:"
        ));
        self.line("");
        self.line(format_args!("  {}", curl::request_code(at)));
        self.line("");
        self.line("The mail with the code appears here, with the next commands.");
        self.line("Press Ctrl-C to stop.");
        self.line("");
    }

    async fn shutdown(&self, shutdown: &Shutdown) -> Infallible {
        shutdown.begun().await;
        if self.ui.json {
            self.json(&json!({"event": "stopping"}));
        } else {
            self.line("Stopping: waiting for running tasks. Press Ctrl-C again to stop now.");
        }
        let mut tick = interval(STOP_INTERVAL);
        let mut reported = 0;
        loop {
            tick.tick().await;
            // A failing store is no reason to stop waiting.
            let workers = self.platform.tasks.workers().await.unwrap_or_default();
            let running: usize = workers.iter().map(|worker| worker.running as usize).sum();
            if running == reported || running == 0 {
                continue;
            }
            reported = running;
            if self.ui.json {
                self.json(&json!({"event": "stopping", "running": running}));
            } else {
                self.line(format_args!("Stopping: {} still running.", count(running, "task")));
            }
        }
    }

    async fn mails(&self) {
        let mut mails = self.platform.mails.subscribe();
        loop {
            match mails.recv().await {
                Ok(mail) => self.mail(&mail),
                Err(RecvError::Lagged(missed)) => {
                    self.line(format_args!("... and {missed} more mails; see `miniapp mail`"));
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn mail(&self, InboxMail { mail, at }: &InboxMail) {
        if self.ui.json {
            self.json(&json!({
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
            for line in curl::use_code(&self.platform.addresses, mail, code) {
                self.line(format_args!("  {line}"));
            }
            self.line("");
        }
    }

    /// Waits until the broker is available: until then no task runs.
    async fn wait_for_broker(&self) {
        let mut retry = Retry::new("connecting to the broker", rand::random());
        while let Err(error) = self.platform.broker.ping().await {
            sleep(retry.failed(&error)).await;
        }
        retry.recovered();
    }

    /// Subscribes to the events of tasks, with retries.
    async fn subscribe(&self) -> Box<dyn Subscription> {
        let mut retry = Retry::new("subscribing to task events", rand::random());
        loop {
            match self.platform.broker.subscribe(Topic::TaskEvents).await {
                Ok(events) => {
                    retry.recovered();
                    return events;
                }
                Err(error) => sleep(retry.failed(&error)).await,
            }
        }
    }

    async fn tasks(&self) {
        let mut events = self.subscribe().await;
        let mut throttle = Throttle::new(Instant::now());
        let mut summary = interval(SUMMARY_INTERVAL);
        summary.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = events.next() => match received {
                    Some(Received::Message(message)) => {
                        for (owner, task) in ended_tasks(&message.body) {
                            if throttle.acquire(Instant::now()) {
                                self.task(owner, task).await;
                            }
                        }
                    }
                    Some(Received::Gap | Received::Probe(_)) => {}
                    None => return,
                },
                _ = summary.tick() => match throttle.take_skipped() {
                    0 => {}
                    skipped => self.line(self.ui.palette.paint(
                        Tone::Dim,
                        format!("... and {} more tasks ended", grouped(skipped)),
                    )),
                },
            }
        }
    }

    /// Prints the end of a task and its trace. A failing store is no reason to stop.
    async fn task(&self, owner: Uuid, id: Uuid) {
        let Ok(Some(task)) = self.platform.tasks.get(owner, id).await else { return };
        self.line(ended_line(self.ui, &task));
        let id = task.spec.trace.trace_id().and_then(|id| TraceId::from_hex(id).ok());
        let trace = match id {
            Some(id) => self.telemetry.spans().wait_until_complete(id, TRACE_TIMEOUT).await,
            None => None,
        };
        if let Some(trace) = trace {
            let tree = TraceTree::new(&trace, self.ui.width().saturating_sub(2));
            self.line(tree.colored(self.ui.palette.is_on()).to_text().indented());
            self.line("");
        }
    }
}

/// Returns the owners and ids of tasks that end with an event of the message.
fn ended_tasks(body: &[u8]) -> Vec<(Uuid, Uuid)> {
    let Ok(events) = RawTaskEvents::read(body) else { return Vec::new() };
    let ended = events.events.iter().filter_map(|event| {
        let head = event.head().ok()?;
        let is_end =
            matches!(head.kind, EventType::Finished | EventType::Canceled | EventType::Failed);
        is_end.then_some((event.user_id, head.task_id))
    });
    ended.collect()
}

/// Formats the end of a task in one line.
fn ended_line(ui: Ui, task: &Task) -> Text {
    let Task { id, spec, state, .. } = task;
    let ended = state.finished_at.unwrap_or(spec.created_at);
    // The time of a restart is not part of the task; the start of the attempt is close.
    let restarted = state.started_at.filter(|_| state.generation > 1);
    let took = between(restarted.unwrap_or(spec.created_at), ended);
    let attempts = match state.attempt {
        0 | 1 => String::new(),
        more => format!(" and {}", count(more as usize, "attempt")),
    };
    let status = status_line(ui.palette, state.status, state.message.as_deref());
    let id = ui.palette.paint(Tone::Dim, id);
    let mut title = ui.palette.paint(Tone::Strong, truncate(&spec.description, 60));
    if spec.description != spec.kind {
        title.push(format_args!(" ({})", spec.kind));
    }
    text![title, format_args!(" after {took}{attempts}: "), status, "  ", id]
}
