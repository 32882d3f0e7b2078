//! What holds of every timeline, whatever happened.

use contracts::task::{Event, EventType, Status};
use tasks::Task;

/// Whether the timeline tells one legal life that led to `task`. `renewals` are changes
/// that no event tells.
pub fn check(task: &Task, timeline: &[Event], renewals: u64) {
    let told = || timeline.iter().map(|event| event.kind).collect::<Vec<_>>();
    let mut status = None;
    let mut generation = 1;
    for (number, event) in timeline.iter().enumerate() {
        assert_eq!(event.task_id, task.id);
        let expected = after(status, event.kind);
        let is_legal = expected.is_some_and(|expected| expected == event.status);
        assert!(is_legal, "{event:?} can't follow {status:?} as number {number} of {:?}", told());
        status = Some(event.status);
        generation += u32::from(event.kind == EventType::Restarted);
    }
    let in_order = timeline.windows(2).all(|pair| pair[0].id < pair[1].id);
    assert!(in_order, "ids out of order in {timeline:?}");
    let count = |kind| timeline.iter().filter(|event| event.kind == kind).count() as u64;
    assert_eq!(status, Some(task.state.status), "{:?} doesn't end as the task", told());
    assert_eq!(generation, task.state.generation, "a generation a restart: {:?}", told());
    assert_eq!(count(EventType::Started), task.state.claim, "a token a start: {:?}", told());
    let versions = timeline.len() as u64 + renewals;
    assert_eq!(versions, task.state.version, "a version a change: {:?}", told());
    let is_removed = timeline.last().is_some_and(|event| event.kind == EventType::Deleted);
    assert_eq!(is_removed, task.state.deleted, "{:?}", told());
}

/// The status after an event, if it can happen then. An end is followed by nothing but a
/// restart or the removal, so there is one end a generation.
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
