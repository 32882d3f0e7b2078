use miniapp_types::task::{Event, Task, TaskError, Worker};

use super::*;
use crate::fixtures::{at, event, task, worker};

/// Events, workers, the second, and parts of reason and next step.
type Running<'a> = (&'a [Event], &'a [Worker], i64, &'a str, &'a str);

fn explained(task: &Task, events: &[Event], workers: &[Worker], second: i64) -> Explanation {
    explain(Facts { task, events, workers, now: at(second) })
}

fn failure(code: &str, attempt: u32) -> Task {
    let error = TaskError { code: code.to_owned(), message: "It broke".to_owned() };
    Task { error: Some(error), attempt, ..task(Status::Failed) }
}

#[test]
fn waiting_is_explained() {
    let free = || worker("a", &["echo"], 3);
    let full = worker("b", &["echo"], 8);
    let other = || worker("c", &["hash"], 0);
    let waiting = task(Status::Awaiting);
    let later = Task { run_at: Some(at(60)), ..task(Status::Awaiting) };
    let created = event(EventType::Created, 0);
    let elsewhere =
        Worker { queues: vec!["gpu".parse().expect("a name")], ..worker("d", &["echo"], 0) };
    let cases: [(&Task, &[Worker], &str, &str); 7] = [
        (
            &waiting,
            &[elsewhere],
            "none of 1 worker with the kind `echo` takes tasks from the queue `default`",
            "worker.queues",
        ),
        (&waiting, &[], "there are no live workers", "Start one"),
        (&waiting, &[other()], "none of 1 live worker runs the kind `echo`", "with this kind"),
        (
            &waiting,
            &[full.clone(), other()],
            "1 worker can run it, with all 8 slots in use",
            "when a slot is free",
        ),
        (&waiting, &[full, free()], "waited for 10 s, and 5 of 16 slots are free", "/readyz"),
        (&later, &[free()], "waits for its start time", "(in 50 s)"),
        (&Task { run_at: Some(at(5)), ..waiting.clone() }, &[free()], "waited for 5 s", "soon"),
    ];
    for (task, workers, reason, next) in cases {
        let explanation = explained(task, std::slice::from_ref(&created), workers, 10);
        assert!(explanation.reason.contains(reason), "{explanation:?}");
        assert!(explanation.next.contains(next), "{explanation:?}");
    }
}

#[test]
fn retry_is_explained() {
    let waiting = Task { attempt: 1, run_at: Some(at(4)), ..task(Status::Awaiting) };
    let failed = Event { message: Some("no answer".to_owned()), ..event(EventType::Retrying, 3) };
    let events = [event(EventType::Created, 0), event(EventType::Started, 1), failed];
    let explanation = explained(&waiting, &events, &[], 3);
    assert_eq!(explanation.reason, "It waits for its next attempt: attempt 1 of 3 failed.");
    assert_eq!(explanation.history, ["Attempt 1 failed on worker-1 after 2 s: no answer."]);
    assert_eq!(
        explanation.next,
        "Attempt 2 starts at 2030-01-01 00:00:04.000Z (in 1 s), or when a worker is free after that."
    );
}

#[test]
fn running_is_explained() {
    let running = Task { progress: 0.4, ..task(Status::Executing) };
    let live = [worker("worker-1", &["echo"], 1)];
    let started = || event(EventType::Started, 1);
    let cases: [Running<'_>; 4] = [
        (&[started()], &live, 4, "attempt 1 of 3 on worker-1, for 3 s, 40% done.", "in 27 s"),
        (&[started()], &live, 40, "for 39 s", "ttl of 30 s is exceeded"),
        (&[started()], &[], 4, "has not reported lately", "lease expires"),
        (
            &[started(), event(EventType::CancelRequested, 2)],
            &live,
            4,
            "canceled it 2 s ago",
            "It is Canceled then",
        ),
    ];
    for (events, workers, second, reason, next) in cases {
        let explanation = explained(&running, events, workers, second);
        assert!(explanation.reason.contains(reason), "{explanation:?}");
        assert!(explanation.next.contains(next), "{explanation:?}");
    }
}

#[test]
fn cancel_of_an_earlier_attempt_is_ignored() {
    let running = Task { execution_started_at: Some(at(9)), ..task(Status::Executing) };
    let events = [event(EventType::CancelRequested, 2), event(EventType::Started, 9)];
    assert!(explained(&running, &events, &[], 10).reason.starts_with("It is running"));
}

#[test]
fn ends_are_explained() {
    let ttl = Task { status_message: Some(TTL_EXCEEDED.to_owned()), ..task(Status::Canceled) };
    let early = Task { attempt: 0, ..task(Status::Canceled) };
    let only = Task { max_attempts: 1, ..failure("broken", 1) };
    let cancel_requested = [event(EventType::Started, 1), event(EventType::CancelRequested, 2)];
    let cases: [(&Task, &[Event], &str, &str); 10] = [
        (
            &task(Status::Finished),
            &[],
            "finished on attempt 1 of 3, 5 s after it was submitted; the attempt took 4 s",
            "task restart",
        ),
        (&ttl, &[], "attempt 1 of 3 took longer than 30 s", "larger ttl"),
        (&early, &[], "canceled it, before it ran", "task restart"),
        (
            &task(Status::Canceled),
            &cancel_requested,
            "canceled it, while attempt 1 of 3 ran",
            "task restart",
        ),
        (&task(Status::Canceled), &[], "after attempt 1 of 3 failed", "task restart"),
        (
            &failure("broken", 3),
            &[],
            "all of its 3 attempts failed, the last one with: It broke (broken)",
            "dead letters",
        ),
        (&only, &[], "its only attempt failed", "dead letters"),
        (&failure("address_refused", 1), &[], "not retried: It broke", "Submit it again"),
        (&failure("lease_lost", 3), &[], "workers were lost: it broke", "memory"),
        (&failure("unknown_kind", 1), &[], "no worker knows the kind `echo`", "miniapp kinds"),
    ];
    for (task, events, reason, next) in cases {
        let explanation = explained(task, events, &[], 10);
        assert!(explanation.reason.contains(reason), "{explanation:?}");
        assert!(explanation.next.contains(next), "{explanation:?}");
    }
}

#[test]
fn history_covers_the_newest_generation() {
    let again = Task { generation: 2, ..task(Status::Finished) };
    let events = [
        event(EventType::Created, 0),
        event(EventType::LeaseLost, 1),
        event(EventType::Restarted, 3),
        event(EventType::Released, 4),
    ];
    let explanation = explained(&again, &events, &[], 10);
    assert_eq!(
        explanation.history,
        [
            "It was restarted 1 time. The following is about the latest run.",
            "worker-1 returned it unfinished. That attempt does not count.",
        ]
    );
    assert!(explanation.reason.contains("2 s after it was restarted"), "{explanation:?}");
}

#[test]
fn suspect_is_explained() {
    let mut events = vec![event(EventType::Created, 0)];
    for lost in 0..3 {
        events.push(event(EventType::Started, 1 + 2 * lost));
        events.push(event(EventType::LeaseLost, 2 + 2 * lost));
    }
    let live = [worker("worker-1", &["echo"], 1)];
    let twice = explained(&task(Status::Awaiting), &events[..5], &live, 10);
    assert!(!twice.reason.contains("alone"), "{twice:?}");
    let waiting = explained(&task(Status::Awaiting), &events, &live, 10);
    assert!(
        waiting.reason.contains("waits to run alone: it lost its worker 3 times"),
        "{waiting:?}"
    );
    events.push(event(EventType::Started, 8));
    let running = explained(&task(Status::Executing), &events, &live, 10);
    assert!(
        running.reason.contains("alone there, because it lost its worker 3 times"),
        "{running:?}"
    );
}
