//! Earlier attempts and restarts of a task.

use miniapp_tasks::domain::TTL_EXCEEDED;
use miniapp_types::task::{Event, EventType, Status};

use super::facts::Facts;
use crate::ui::format::{between, count};

/// Returns a sentence for each earlier event of the newest generation. The current status
/// is left to the explanation.
pub fn sentences(facts: Facts<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    if facts.task.generation > 1 {
        let restarts = count(facts.task.generation as usize - 1, "time");
        sentences
            .push(format!("It was restarted {restarts}. The following is about the latest run."));
    }
    let events = facts.generation();
    // The explanation of these statuses mentions the cancel request.
    let is_cancel_explained = matches!(facts.task.status, Status::Executing | Status::Canceled);
    for (index, event) in events.iter().enumerate() {
        if event.kind == EventType::CancelRequested && is_cancel_explained {
            continue;
        }
        sentences.extend(sentence(event, events[..index].last()));
    }
    sentences
}

fn sentence(event: &Event, previous: Option<&Event>) -> Option<String> {
    let message = event.message.as_deref().unwrap_or("no message");
    let worker = event.worker.as_deref().unwrap_or("its worker");
    let took = previous
        .map_or_else(String::new, |previous| format!(" after {}", between(previous.at, event.at)));
    let attempt = event.attempt;
    Some(match event.kind {
        EventType::Retrying => {
            format!("Attempt {attempt} failed on {worker}{took}: {message}.")
        }
        EventType::LeaseLost => format!(
            "{worker} was lost during attempt {attempt}. The task was released for other workers."
        ),
        EventType::Released => {
            format!("{worker} returned it unfinished. That attempt does not count.")
        }
        EventType::CancelRequested if event.message.as_deref() == Some(TTL_EXCEEDED) => {
            "Its ttl ended while it was running.".to_owned()
        }
        EventType::CancelRequested => "Its owner canceled it while it was running.".to_owned(),
        EventType::Created
        | EventType::Started
        | EventType::Progress
        | EventType::Finished
        | EventType::Canceled
        | EventType::Failed
        | EventType::Restarted
        | EventType::Deleted => return None,
    })
}
