//! Why a task stands where it stands, in plain words.
//!
//! A pure function of what the API tells about the task and the workers.

mod story;
#[cfg(test)]
mod tests;
mod waiting;

use jiff::{SignedDuration, Timestamp};
use miniapp_tasks::domain::TTL_EXCEEDED;
use miniapp_types::task::{Event, EventType, Status, Task, Worker};

use crate::ui::words::{between, count, span};

/// What is known of a task.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The task.
    pub task: &'a Task,
    /// Its timeline.
    pub events: &'a [Event],
    /// The live workers.
    pub workers: &'a [Worker],
    /// The time.
    pub now: Timestamp,
}

/// Why a task stands where it stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    /// In a sentence.
    pub because: String,
    /// What went before, a sentence each.
    pub story: Vec<String>,
    /// What happens next, or would have to.
    pub next: String,
}

/// Explains a task.
pub fn explain(case: Case<'_>) -> Explanation {
    let (because, next) = match case.task.status {
        Status::Awaiting => waiting::explain(case),
        Status::Executing => executing(case),
        Status::Finished => finished(case),
        Status::Canceled => canceled(case),
        Status::Failed => failed(case),
    };
    Explanation { because, story: story::tell(case), next }
}

impl<'a> Case<'a> {
    /// The events of the newest generation.
    fn generation(self) -> &'a [Event] {
        let restart = self.events.iter().rposition(|event| event.kind == EventType::Restarted);
        &self.events[restart.unwrap_or(0)..]
    }

    /// The newest event of `kind` in the newest generation.
    fn newest(self, kind: EventType) -> Option<&'a Event> {
        self.generation().iter().rev().find(|event| event.kind == kind)
    }

    /// `attempt 2 of 3`.
    fn attempt(self) -> String {
        format!("attempt {} of {}", self.task.attempt, self.task.max_attempts)
    }

    fn restart(self) -> String {
        format!("`miniapp task restart {}`", self.task.task_id)
    }
}

fn executing(case: Case<'_>) -> (String, String) {
    let Case { task, now, .. } = case;
    let worker = task.worker.as_deref().unwrap_or("a worker");
    let started = task.execution_started_at.unwrap_or(now);
    let asked = case.newest(EventType::CancelRequested).filter(|event| event.at >= started);
    if let Some(asked) = asked {
        return (
            format!(
                "It is being stopped: its owner asked for the end {} ago.",
                between(asked.at, now)
            ),
            format!("{worker} stops it as soon as its code allows, then it is Canceled."),
        );
    }
    let mut because =
        format!("It runs: {} on {worker}, for {} now", case.attempt(), between(started, now));
    if task.progress > 0.0 {
        because = format!("{because}, {:.0}% done", task.progress * 100.0);
    }
    if !case.workers.iter().any(|live| live.name == worker) {
        return (
            because + ". But that worker hasn't been heard of lately.",
            "If the worker is gone, its lease runs out within seconds and another one takes the \
             task."
                .to_owned(),
        );
    }
    let ttl = started.saturating_add(SignedDuration::from_secs(task.ttl.into()));
    let next = match ttl {
        Ok(end) if end > now => format!(
            "It ends by itself, or is stopped at its ttl of {} s, in {}.",
            task.ttl,
            between(now, end)
        ),
        _ => format!("Its ttl of {} s is over: it is being stopped.", task.ttl),
    };
    (because + ".", next)
}

fn finished(case: Case<'_>) -> (String, String) {
    let Case { task, .. } = case;
    let begun = case.generation().first().map_or(task.created_at, |event| event.at);
    let ended = task.execution_finished_at.unwrap_or(begun);
    let ran = task.execution_started_at.map_or(SignedDuration::ZERO, |at| ended.duration_since(at));
    let because = format!(
        "It finished on {}, {} after it was {}; the attempt took {}.",
        case.attempt(),
        between(begun, ended),
        if task.generation > 1 { "restarted" } else { "submitted" },
        span(ran),
    );
    (because, format!("Nothing more happens to it; {} runs it again.", case.restart()))
}

fn canceled(case: Case<'_>) -> (String, String) {
    let Case { task, .. } = case;
    if task.status_message.as_deref() == Some(TTL_EXCEEDED) {
        return (
            format!(
                "It was stopped at its ttl: {} s was too short for {}.",
                task.ttl,
                case.attempt()
            ),
            "Submit it again with a larger ttl; a restart would have the same one.".to_owned(),
        );
    }
    let when = if case.newest(EventType::CancelRequested).is_some() {
        format!("while {} ran", case.attempt())
    } else if task.attempt > 0 {
        format!("after {} had failed, before the next one", case.attempt())
    } else {
        "before it ran".to_owned()
    };
    (
        format!("Its owner canceled it, {when}."),
        format!("Nothing more happens to it; {} runs it after all.", case.restart()),
    )
}

fn failed(case: Case<'_>) -> (String, String) {
    let Case { task, .. } = case;
    let (code, message) = match &task.error {
        Some(error) => (error.code.as_str(), error.message.as_str()),
        None => ("", "no reason was given"),
    };
    let restart = case.restart();
    match code {
        "lease_lost" => (
            format!("It failed as poison: {}.", uncapitalized(message)),
            format!(
                "Find out what it does to its workers (their logs, their memory), then {restart}."
            ),
        ),
        "unknown_kind" => (
            format!("It failed because no worker that had it knows the kind `{}`.", task.kind),
            format!(
                "`miniapp kinds` shows those there are; with a worker that knows it, {restart}."
            ),
        ),
        _ if task.attempt >= task.max_attempts => (
            format!(
                "It failed because {} failed, the last with: {message} ({code}).",
                match task.max_attempts {
                    1 => "its only attempt".to_owned(),
                    all => format!("all of its {}", count(all as usize, "attempt")),
                },
            ),
            format!(
                "Mend the cause, then {restart}; an admin finds it among the dead letters and can \
                 requeue it."
            ),
        ),
        _ => (
            format!(
                "It failed for good on {}, as trying again wouldn't help: {message} ({code}).",
                case.attempt()
            ),
            format!("Submit it again with other data; {restart} tries the same once more."),
        ),
    }
}

fn uncapitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().into_iter().flat_map(char::to_lowercase).chain(rest).collect()
}
