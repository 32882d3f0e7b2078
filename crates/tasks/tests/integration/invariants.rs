//! The invariants of stored tasks: the state machine keeps them, and violations are reported.

use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::clock::{Clock as _, ManualClock};
use miniapp_tasks::domain::{State, Task};
use miniapp_tasks::engine::{Change, InvariantReport};
use miniapp_tasks::postgres::PostgresEngine;
use miniapp_tasks::sqlite::SqliteEngine;
use miniapp_tasks::{Command, Engine};
use miniapp_test_support::postgres::Server;
use miniapp_test_support::task::{self, LEASE, claim, raw};
use miniapp_types::task::{EventType, Status};
use uuid::Uuid;

type Break = fn(&mut State);

async fn add(engine: &dyn Engine, now: Timestamp) -> Task {
    let task = task::new(Uuid::new_v4(), now).expect("a task");
    engine.write(&[task::insert(&task, None)], &[]).await.expect("a store");
    task
}

async fn store(engine: &dyn Engine, change: Change) -> Task {
    let written = engine.write(&[], std::slice::from_ref(&change)).await.expect("a store");
    assert_eq!(written.changes, [true]);
    change.task
}

/// Stores any `state`, possible or not.
async fn put(engine: &dyn Engine, task: &Task, state: State) -> Task {
    let at = state.changed_at;
    store(engine, task::change_to(task, state, EventType::Progress, at)).await
}

async fn apply(engine: &dyn Engine, task: &Task, command: Command, now: Timestamp) -> Task {
    store(engine, task::change(task, command, now).expect("legal")).await
}

/// Returns the violated invariants.
async fn broken(engine: &dyn Engine, now: Timestamp) -> Vec<InvariantReport> {
    let checked = engine.check_invariants(now).await.expect("a store");
    assert!(checked.len() > 10, "every invariant is reported");
    checked.into_iter().filter(|report| report.violations > 0).collect()
}

async fn keeps_to_the_rules(engine: &dyn Engine) {
    let now = ManualClock::default().now();
    assert_eq!(broken(engine, now).await, []);
    let waiting = add(engine, now).await;
    let running = add(engine, now).await;
    let running = apply(engine, &running, claim(&running), now).await;
    let finished = add(engine, now).await;
    let finished = apply(engine, &finished, claim(&finished), now).await;
    let result = raw("2").expect("JSON").into();
    let finish = Command::Finish { claim: finished.state.claim, result };
    let finished = apply(engine, &finished, finish, now).await;
    let removed = add(engine, now).await;
    apply(engine, &removed, Command::Delete, now).await;
    assert_eq!(broken(engine, now).await, []);

    let breaks: [(&Task, Break); 7] = [
        (&waiting, |state| state.ready_at = None),
        (&waiting, |state| state.attempt = 1),
        (&running, |state| state.lease_until = None),
        (&running, |state| state.worker = None),
        (&finished, |state| state.result = None),
        (&finished, |state| state.finished_at = None),
        (&finished, |state| state.status = Status::Failed),
    ];
    for (task, breaks) in breaks {
        let [found] = engine.load(&[task.id]).await.expect("a store").try_into().expect("it");
        let next = |state: &State| State { version: found.state.version + 1, ..state.clone() };
        let mut wrong = next(&found.state);
        breaks(&mut wrong);
        let put_wrong = put(engine, &found, wrong).await;
        let reports = broken(engine, now).await;
        assert!(!reports.is_empty(), "no report of {put_wrong:?}");
        for report in reports {
            assert_eq!(
                (report.violations, report.examples),
                (1, vec![task.id]),
                "{}",
                report.invariant
            );
        }
        let right = State { version: put_wrong.state.version + 1, ..found.state.clone() };
        put(engine, &put_wrong, right).await;
        assert_eq!(broken(engine, now).await, []);
    }

    // No reaper runs in this test.
    let later = now + LEASE + SignedDuration::from_secs(61);
    let reports = broken(engine, later).await;
    assert_eq!(
        reports.iter().map(|report| &report.examples).collect::<Vec<_>>(),
        [&vec![running.id]]
    );
}

#[tokio::test]
async fn sqlite_reports_violated_invariants() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", directory.path().join("tasks.db").display());
    keeps_to_the_rules(&SqliteEngine::open(&url, false).await.expect("a store")).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn postgres_reports_violated_invariants() {
    let server = Server::shared().await;
    let settings = server.settings().await.expect("a database");
    keeps_to_the_rules(&PostgresEngine::new(&settings).expect("an engine")).await;
}
