//! Explains why a task is not running yet.

use miniapp_types::task::{EventType, Worker};

use super::facts::Facts;
use crate::ui::format::{between, count, timestamp};

/// Returns the reason and the next step.
pub fn explain(facts: Facts<'_>) -> (String, String) {
    for_its_start_time(facts).unwrap_or_else(|| for_a_worker(facts))
}

fn for_its_start_time(facts: Facts<'_>) -> Option<(String, String)> {
    let at = facts.task.run_at.filter(|at| *at > facts.now)?;
    let when = format!("{} (in {})", timestamp(at), between(facts.now, at));
    Some(match facts.newest(EventType::Retrying) {
        Some(_) => (
            format!("It waits for its next attempt: {} failed.", facts.attempt()),
            format!(
                "Attempt {} starts at {when}, or when a worker is free after that.",
                facts.task.attempt + 1
            ),
        ),
        None => ("It waits for its start time.".to_owned(), format!("It starts at {when}.")),
    })
}

fn for_a_worker(facts: Facts<'_>) -> (String, String) {
    let Facts { task, workers, now, .. } = facts;
    let knowing: Vec<&Worker> =
        workers.iter().filter(|worker| worker.kinds.contains(&task.kind)).collect();
    let takes = |worker: &Worker| worker.queues.is_empty() || worker.queues.contains(&task.queue);
    let able: Vec<&Worker> = knowing.iter().copied().filter(|worker| takes(worker)).collect();
    let slots: u32 = able.iter().map(|worker| worker.capacity).sum();
    let used: u32 = able.iter().map(|worker| worker.running.min(worker.capacity)).sum();
    if workers.is_empty() {
        (
            "It waits because there are no live workers.".to_owned(),
            "Start one with `worker`, or the whole platform with `miniapp`.".to_owned(),
        )
    } else if knowing.is_empty() {
        let alive = count(workers.len(), "live worker");
        (
            format!("It waits because none of {alive} runs the kind `{}`.", task.kind),
            "Start a worker with this kind, or cancel the task.".to_owned(),
        )
    } else if able.is_empty() {
        let knowing = count(knowing.len(), "worker");
        (
            format!(
                "It waits because none of {knowing} with the kind `{}` takes tasks from the queue \
                 `{}`.",
                task.kind, task.queue
            ),
            "Start a worker whose worker.queues has this queue, or cancel the task.".to_owned(),
        )
    } else if let Some(lost) = facts.suspect() {
        (
            format!(
                "It waits to run alone: it lost its worker {lost} times, and may be the cause."
            ),
            "A worker runs it when its other tasks have ended or were returned to the queue. If \
             that worker is lost, too, the task fails in the end."
                .to_owned(),
        )
    } else if used >= slots {
        let able = count(able.len(), "worker");
        (
            format!("It waits for a free slot: {able} can run it, with all {slots} slots in use."),
            "It runs when a slot is free. More workers or a larger worker.concurrency shorten the \
             wait."
                .to_owned(),
        )
    } else {
        let since = facts.generation().last().map_or(task.created_at, |event| event.at);
        let since = task.run_at.map_or(since, |at| at.max(since));
        (
            format!(
                "It is about to run: it has waited for {}, and {} of {slots} slots are free.",
                between(since, now),
                slots - used
            ),
            "A worker takes it soon. If not, check /readyz on the admin port for unreachable \
             dependencies."
                .to_owned(),
        )
    }
}
