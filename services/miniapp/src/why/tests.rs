use miniapp_types::task::TaskError;

use super::*;
use crate::samples::{at, event, task, worker};

/// Events, workers, the second, and what the two sentences contain.
type Running<'a> = (&'a [Event], &'a [Worker], i64, &'a str, &'a str);

fn explained(task: &Task, events: &[Event], workers: &[Worker], second: i64) -> Explanation {
    explain(Case { task, events, workers, now: at(second) })
}

fn failure(code: &str, attempt: u32) -> Task {
    let error = TaskError { code: code.to_owned(), message: "It broke".to_owned() };
    Task { error: Some(error), attempt, ..task(Status::Failed) }
}

#[test]
fn each_reason_for_waiting_has_its_words() {
    let free = || worker("a", &["echo"], 3);
    let full = worker("b", &["echo"], 8);
    let other = || worker("c", &["hash"], 0);
    let waiting = task(Status::Awaiting);
    let later = Task { run_at: Some(at(60)), ..task(Status::Awaiting) };
    let created = event(EventType::Created, 0);
    let cases: [(&Task, &[Worker], &str, &str); 6] = [
        (&waiting, &[], "no worker is alive", "Start one"),
        (&waiting, &[other()], "none of the 1 live worker runs the kind `echo`", "knows the kind"),
        (
            &waiting,
            &[full.clone(), other()],
            "the 1 worker that can run it have all 8 places taken",
            "turn comes",
        ),
        (&waiting, &[full, free()], "waited for 10 s, and 5 of 16 places are free", "/readyz"),
        (&later, &[free()], "submitted to run later", "(in 50 s)"),
        (&Task { run_at: Some(at(5)), ..waiting.clone() }, &[free()], "waited for 5 s", "moments"),
    ];
    for (task, workers, because, next) in cases {
        let told = explained(task, std::slice::from_ref(&created), workers, 10);
        assert!(told.because.contains(because), "{told:?}");
        assert!(told.next.contains(next), "{told:?}");
    }
}

#[test]
fn a_retry_tells_what_failed_and_when_it_goes_on() {
    let waiting = Task { attempt: 1, run_at: Some(at(4)), ..task(Status::Awaiting) };
    let failed = Event { message: Some("no answer".to_owned()), ..event(EventType::Retrying, 3) };
    let events = [event(EventType::Created, 0), event(EventType::Started, 1), failed];
    let told = explained(&waiting, &events, &[], 3);
    assert_eq!(told.because, "It waits for its next attempt: attempt 1 of 3 failed.");
    assert_eq!(told.story, ["Attempt 1 failed on worker-1 after 2 s: no answer."]);
    assert_eq!(
        told.next,
        "Attempt 2 begins at 2030-01-01 00:00:04.000Z (in 1 s), once a worker has room."
    );
}

#[test]
fn a_running_task_tells_where_and_for_how_long() {
    let running = Task { progress: 0.4, ..task(Status::Executing) };
    let live = [worker("worker-1", &["echo"], 1)];
    let started = || event(EventType::Started, 1);
    let cases: [Running<'_>; 4] = [
        (&[started()], &live, 4, "attempt 1 of 3 on worker-1, for 3 s now, 40% done.", "in 27 s"),
        (&[started()], &live, 40, "for 39 s now", "ttl of 30 s is over"),
        (&[started()], &[], 4, "hasn't been heard of lately", "lease runs out"),
        (
            &[started(), event(EventType::CancelRequested, 2)],
            &live,
            4,
            "asked for the end 2 s ago",
            "then it is Canceled",
        ),
    ];
    for (events, workers, second, because, next) in cases {
        let told = explained(&running, events, workers, second);
        assert!(told.because.contains(because), "{told:?}");
        assert!(told.next.contains(next), "{told:?}");
    }
}

#[test]
fn a_cancel_asked_for_in_an_earlier_attempt_is_past() {
    let running = Task { execution_started_at: Some(at(9)), ..task(Status::Executing) };
    let events = [event(EventType::CancelRequested, 2), event(EventType::Started, 9)];
    assert!(explained(&running, &events, &[], 10).because.starts_with("It runs"));
}

#[test]
fn each_end_has_its_words() {
    let ttl = Task { status_message: Some(TTL_EXCEEDED.to_owned()), ..task(Status::Canceled) };
    let early = Task { attempt: 0, ..task(Status::Canceled) };
    let only = Task { max_attempts: 1, ..failure("broken", 1) };
    let asked = [event(EventType::Started, 1), event(EventType::CancelRequested, 2)];
    let cases: [(&Task, &[Event], &str, &str); 10] = [
        (
            &task(Status::Finished),
            &[],
            "finished on attempt 1 of 3, 5 s after it was submitted; the attempt took 4 s",
            "task restart",
        ),
        (&ttl, &[], "30 s was too short for attempt 1 of 3", "larger ttl"),
        (&early, &[], "canceled it, before it ran", "task restart"),
        (&task(Status::Canceled), &asked, "canceled it, while attempt 1 of 3 ran", "task restart"),
        (&task(Status::Canceled), &[], "after attempt 1 of 3 had failed", "task restart"),
        (
            &failure("broken", 3),
            &[],
            "all of its 3 attempts failed, the last with: It broke (broken)",
            "dead letters",
        ),
        (&only, &[], "its only attempt failed", "dead letters"),
        (&failure("address_refused", 1), &[], "for good on attempt 1 of 3", "Submit it again"),
        (&failure("lease_lost", 3), &[], "as poison: it broke", "memory"),
        (
            &failure("unknown_kind", 1),
            &[],
            "no worker that had it knows the kind `echo`",
            "miniapp kinds",
        ),
    ];
    for (task, events, because, next) in cases {
        let told = explained(task, events, &[], 10);
        assert!(told.because.contains(because), "{told:?}");
        assert!(told.next.contains(next), "{told:?}");
    }
}

#[test]
fn the_story_is_of_the_newest_generation() {
    let again = Task { generation: 2, ..task(Status::Finished) };
    let events = [
        event(EventType::Created, 0),
        event(EventType::LeaseLost, 1),
        event(EventType::Restarted, 3),
        event(EventType::Released, 4),
    ];
    let told = explained(&again, &events, &[], 10);
    assert_eq!(
        told.story,
        [
            "It was restarted 1 time; what follows is its newest run.",
            "worker-1 shut down and handed it back unfinished; that attempt isn't counted.",
        ]
    );
    assert!(told.because.contains("2 s after it was restarted"), "{told:?}");
}
