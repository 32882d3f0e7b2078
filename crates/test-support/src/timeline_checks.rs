//! Checks that a timeline is a legal history of its task.

use miniapp_tasks::Task;
use miniapp_types::task::{Event, EventType, Status};

/// Panics unless the timeline is a legal history of `task`. `renewals` is the number of changes
/// without an event.
#[track_caller]
pub fn check(task: &Task, timeline: &[Event], renewals: u64) {
    if let Err(fault) = find_fault(task, timeline, renewals) {
        panic!("{fault}");
    }
}

/// Returns an error that names the violated rule unless the timeline is a legal history of
/// `task`. `renewals` is the number of changes without an event.
pub fn find_fault(task: &Task, timeline: &[Event], renewals: u64) -> Result<(), String> {
    let types = || timeline.iter().map(|event| event.kind).collect::<Vec<_>>();
    let holds = |holds: bool, rule: &str| {
        if holds { Ok(()) } else { Err(format!("{rule}: {:?}", types())) }
    };
    let mut status = None;
    let mut generation = 1;
    let mut is_canceled = false;
    for (number, event) in timeline.iter().enumerate() {
        holds(event.task_id == task.id, "it is the task's own")?;
        if after(status, event.kind) != Some(event.status) {
            let event = format!("{:?} to {:?}", event.kind, event.status);
            return Err(format!("{event} can't follow {status:?} as {number} of {:?}", types()));
        }
        status = Some(event.status);
        match event.kind {
            EventType::CancelRequested => is_canceled = true,
            EventType::Started => holds(!is_canceled, "nothing starts after a cancel")?,
            EventType::Restarted => {
                generation += 1;
                is_canceled = false;
            }
            _ => {}
        }
    }
    let in_order = timeline.windows(2).all(|pair| pair[0].id < pair[1].id);
    holds(in_order, "ids are in order")?;
    let count = |kind| timeline.iter().filter(|event| event.kind == kind).count() as u64;
    holds(status == Some(task.state.status), "it ends as the task")?;
    holds(generation == task.state.generation, "a generation a restart")?;
    holds(count(EventType::Started) == task.state.claim, "a token a start")?;
    let versions = timeline.len() as u64 + renewals;
    holds(versions == task.state.version, "a version a change")?;
    let is_removed = timeline.last().is_some_and(|event| event.kind == EventType::Deleted);
    holds(is_removed == task.state.deleted, "the removal is the last event")
}

/// The status after an event, or none if the event is illegal in this status. Only a restart or
/// the removal follows an end, so each generation has one end.
fn after(status: Option<Status>, kind: EventType) -> Option<Status> {
    use EventType as E;
    use Status::{Awaiting, Canceled, Executing, Failed, Finished};
    let is_legal = match kind {
        E::Created => status.is_none(),
        E::Started => status == Some(Awaiting),
        E::Canceled => matches!(status, Some(Awaiting | Executing)),
        E::Restarted => status.is_some_and(Status::is_terminal),
        E::Deleted => status.is_some(),
        E::Progress
        | E::CancelRequested
        | E::Retrying
        | E::Released
        | E::LeaseLost
        | E::Finished
        | E::Failed => status == Some(Executing),
    };
    let next = match kind {
        E::Created | E::Retrying | E::Released | E::LeaseLost | E::Restarted => Awaiting,
        E::Started | E::Progress | E::CancelRequested => Executing,
        E::Finished => Finished,
        E::Failed => Failed,
        E::Canceled => Canceled,
        E::Deleted => status.filter(|status| status.is_terminal()).unwrap_or(Canceled),
    };
    is_legal.then_some(next)
}
