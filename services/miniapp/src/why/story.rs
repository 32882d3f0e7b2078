//! What went before.

use miniapp_types::task::{Event, EventType};

use super::Case;
use crate::ui::words::{between, count};

/// The turns of the newest generation, a sentence each. What the explanation itself
/// says, how it stands now, is left out.
pub fn tell(case: Case<'_>) -> Vec<String> {
    let mut story = Vec::new();
    if case.task.generation > 1 {
        let restarts = case.task.generation as usize - 1;
        let past = count(restarts, "time");
        story.push(format!("It was restarted {past}; what follows is its newest run."));
    }
    let events = case.generation();
    for (index, event) in events.iter().enumerate() {
        story.extend(turn(event, events[..index].last()));
    }
    story
}

fn turn(event: &Event, before: Option<&Event>) -> Option<String> {
    let message = event.message.as_deref().unwrap_or("without a message");
    let worker = event.worker.as_deref().unwrap_or("its worker");
    let took = before
        .map_or_else(String::new, |before| format!(" after {}", between(before.at, event.at)));
    let attempt = event.attempt;
    Some(match event.kind {
        EventType::Retrying => {
            format!("Attempt {attempt} failed on {worker}{took}: {message}.")
        }
        EventType::LeaseLost => format!(
            "{worker} vanished while attempt {attempt} ran, and the task was given free for others."
        ),
        EventType::Released => {
            format!("{worker} shut down and handed it back unfinished; that attempt isn't counted.")
        }
        EventType::CancelRequested => "Its owner asked for its end while it ran.".to_owned(),
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
