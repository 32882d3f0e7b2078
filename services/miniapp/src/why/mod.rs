//! Explains the status of a task in plain words.
//!
//! A pure function of the task, its events and the live workers.

mod facts;
mod history;
#[cfg(test)]
mod tests;
mod waiting;

use jiff::SignedDuration;
use miniapp_tasks::domain::TTL_EXCEEDED;
use miniapp_types::task::{EventType, Status};

use crate::ui::format::{between, count, duration};

pub use facts::Facts;

/// Why a task has its status, and what happens next.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    #[serde(rename = "because")]
    pub reason: String,
    /// Earlier attempts and restarts.
    #[serde(rename = "story")]
    pub history: Vec<String>,
    /// What happens next, or what to do.
    pub next: String,
}

pub fn explain(facts: Facts<'_>) -> Explanation {
    let (reason, next) = match facts.task.status {
        Status::Awaiting => waiting::explain(facts),
        Status::Executing => executing(facts),
        Status::Finished => finished(facts),
        Status::Canceled => canceled(facts),
        Status::Failed => failed(facts),
    };
    Explanation { reason, history: history::sentences(facts), next }
}

fn executing(facts: Facts<'_>) -> (String, String) {
    let Facts { task, now, .. } = facts;
    let worker = task.worker.as_deref().unwrap_or("a worker");
    let started = task.execution_started_at.unwrap_or(now);
    let canceled = facts.newest(EventType::CancelRequested).filter(|event| event.at >= started);
    if let Some(canceled) = canceled {
        let ago = between(canceled.at, now);
        let cause = match canceled.message.as_deref() {
            Some(TTL_EXCEEDED) => format!("its ttl ended {ago} ago"),
            _ => format!("its owner canceled it {ago} ago"),
        };
        return (
            format!("It is being stopped: {cause}."),
            format!("{worker} stops it at the next opportunity. It is Canceled then."),
        );
    }
    let mut reason =
        format!("It is running: {} on {worker}, for {}", facts.attempt(), between(started, now));
    if task.progress > 0.0 {
        reason = format!("{reason}, {:.0}% done", task.progress * 100.0);
    }
    if let Some(lost) = facts.suspect() {
        reason =
            format!("{reason}. It started alone there, because it lost its worker {lost} times");
    }
    if !facts.workers.iter().any(|live| live.name == worker) {
        return (
            reason + ". But that worker has not reported lately.",
            "If the worker has crashed, its lease expires within seconds and another worker takes \
             over."
                .to_owned(),
        );
    }
    let ttl = started.saturating_add(SignedDuration::from_secs(task.ttl.into()));
    let next = match ttl {
        Ok(end) if end > now => format!(
            "It ends by itself, or is stopped after its ttl of {} s, in {}.",
            task.ttl,
            between(now, end)
        ),
        _ => format!("Its ttl of {} s is exceeded: it is being stopped.", task.ttl),
    };
    (reason + ".", next)
}

fn finished(facts: Facts<'_>) -> (String, String) {
    let Facts { task, .. } = facts;
    let started = facts.generation().first().map_or(task.created_at, |event| event.at);
    let ended = task.execution_finished_at.unwrap_or(started);
    let ran = task.execution_started_at.map_or(SignedDuration::ZERO, |at| ended.duration_since(at));
    let reason = format!(
        "It finished on {}, {} after it was {}; the attempt took {}.",
        facts.attempt(),
        between(started, ended),
        if task.generation > 1 { "restarted" } else { "submitted" },
        duration(ran),
    );
    (reason, format!("Nothing. {} runs it again.", facts.restart_command()))
}

fn canceled(facts: Facts<'_>) -> (String, String) {
    let Facts { task, .. } = facts;
    if task.status_message.as_deref() == Some(TTL_EXCEEDED) {
        return (
            format!(
                "It was stopped at its ttl: {} took longer than {} s.",
                facts.attempt(),
                task.ttl
            ),
            "Submit it again with a larger ttl. A restart would use the same one.".to_owned(),
        );
    }
    let when = if facts.newest(EventType::CancelRequested).is_some() {
        format!("while {} ran", facts.attempt())
    } else if task.attempt > 0 {
        format!("after {} failed", facts.attempt())
    } else {
        "before it ran".to_owned()
    };
    (
        format!("Its owner canceled it, {when}."),
        format!("Nothing. {} runs it again.", facts.restart_command()),
    )
}

fn failed(facts: Facts<'_>) -> (String, String) {
    let Facts { task, .. } = facts;
    let (code, message) = match &task.error {
        Some(error) => (error.code.as_str(), error.message.as_str()),
        None => ("", "no message"),
    };
    let restart = facts.restart_command();
    match code {
        "lease_lost" => (
            format!("It failed because its workers were lost: {}.", lowercase_first(message)),
            format!("Check the logs and memory of the workers, then run {restart}."),
        ),
        "unknown_kind" => (
            format!("It failed because no worker knows the kind `{}`.", task.kind),
            format!(
                "`miniapp kinds` lists the known kinds. Start a worker with this kind, then run {restart}."
            ),
        ),
        _ if task.attempt >= task.max_attempts => (
            format!(
                "It failed because {} failed, the last one with: {message} ({code}).",
                match task.max_attempts {
                    1 => "its only attempt".to_owned(),
                    all => format!("all of its {}", count(all as usize, "attempt")),
                },
            ),
            format!(
                "Fix the cause, then run {restart}. An admin can also requeue it from the dead \
                 letters."
            ),
        ),
        _ => (
            format!(
                "It failed on {} with an error that is not retried: {message} ({code}).",
                facts.attempt()
            ),
            format!("Submit it again with other data. {restart} runs it again unchanged."),
        ),
    }
}

fn lowercase_first(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().into_iter().flat_map(char::to_lowercase).chain(rest).collect()
}
