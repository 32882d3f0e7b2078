//! Why a task isn't running yet.

use miniapp_types::task::{EventType, Worker};

use super::Case;
use crate::ui::words::{between, count, moment};

/// Why it waits, and what would have to happen.
pub fn explain(case: Case<'_>) -> (String, String) {
    for_its_time(case).unwrap_or_else(|| for_a_worker(case))
}

fn for_its_time(case: Case<'_>) -> Option<(String, String)> {
    let at = case.task.run_at.filter(|at| *at > case.now)?;
    let when = format!("{} (in {})", moment(at), between(case.now, at));
    Some(match case.newest(EventType::Retrying) {
        Some(_) => (
            format!("It waits for its next attempt: {} failed.", case.attempt()),
            format!("Attempt {} begins at {when}, once a worker has room.", case.task.attempt + 1),
        ),
        None => (
            "It waits for its time: it was submitted to run later.".to_owned(),
            format!("A worker takes it at {when}; nothing has to be done."),
        ),
    })
}

fn for_a_worker(case: Case<'_>) -> (String, String) {
    let Case { task, workers, now, .. } = case;
    let able: Vec<&Worker> =
        workers.iter().filter(|worker| worker.kinds.contains(&task.kind)).collect();
    let places: u32 = able.iter().map(|worker| worker.capacity).sum();
    let taken: u32 = able.iter().map(|worker| worker.running.min(worker.capacity)).sum();
    if workers.is_empty() {
        (
            "It waits because no worker is alive.".to_owned(),
            "Start one (`worker`, or `miniapp` for the whole platform); it runs as soon as one is \
             there."
                .to_owned(),
        )
    } else if able.is_empty() {
        let alive = count(workers.len(), "live worker");
        (
            format!("It waits because none of the {alive} runs the kind `{}`.", task.kind),
            "Start a worker that knows the kind, or cancel the task.".to_owned(),
        )
    } else if taken >= places {
        let able = count(able.len(), "worker");
        (
            format!(
                "It waits for room: the {able} that can run it have all {places} places taken."
            ),
            "It runs when its turn comes. More workers, or a larger worker.concurrency, make that \
             sooner."
                .to_owned(),
        )
    } else {
        let since = case.generation().last().map_or(task.created_at, |event| event.at);
        let since = task.run_at.map_or(since, |at| at.max(since));
        (
            format!(
                "It is about to run: it has waited for {}, and {} of {places} places are free.",
                between(since, now),
                places - taken
            ),
            "A worker takes it within moments. If none does, /readyz on the admin port says what \
             the platform can't reach."
                .to_owned(),
        )
    }
}
