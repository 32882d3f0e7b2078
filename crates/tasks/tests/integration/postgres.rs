//! The PostgreSQL engine: lost responses, crashes, clock differences and query plans.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_broker::MemoryBroker;
use miniapp_runtime::clock::{Clock, ManualClock, id_at, new_id};
use miniapp_tasks::engine::{Change, IdempotencyKey, Insert, InsertOutcome, TakeDue, TakenQueues};
use miniapp_tasks::postgres::PostgresEngine;
use miniapp_tasks::{
    Claimed, Command, Engine, Filter, NewTask, Retention, Runtime, StoreError, Task, Tasks,
};
use miniapp_test_support::postgres::Server;
use miniapp_test_support::task::{self, LEASE, raw};
use miniapp_test_support::timelines;
use miniapp_types::message::TaskReady;
use miniapp_types::task::{Event, Status};
use miniapp_types::trace::TraceContext;
use sqlx::Row as _;
use uuid::Uuid;

fn insert(owner: Uuid, key: Option<&str>, clock: &dyn Clock) -> Insert {
    let key =
        key.map(|key| IdempotencyKey { key: key.into(), digest: [7; 32], previous_digest: None });
    task::insert(&task::new(owner, clock.now()).expect("a task"), key)
}

fn change(task: &Task, command: Command, at: Timestamp) -> Change {
    task::change(task, command, at).expect("legal")
}

fn claim(task: &Task, at: Timestamp) -> Change {
    change(task, task::claim(task), at)
}

async fn engine(server: &Server) -> PostgresEngine {
    PostgresEngine::new(&server.settings().await.expect("a database")).expect("an engine")
}

async fn following(engine: &PostgresEngine, owner: Uuid, after: Uuid) -> Vec<Event> {
    timelines::following(engine, owner, after, 10).await.expect("read")
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn resent_batch_is_applied_once() {
    let server = Server::shared().await;
    let engine = engine(server).await;
    let clock = ManualClock::default();
    let owner = new_id(&clock);
    let [before, plain, keyed] = [None, None, Some("a key")].map(|key| insert(owner, key, &clock));
    engine.write(std::slice::from_ref(&before), &[]).await.expect("written");
    let changes = [claim(&before.task, clock.now())];
    for inserts in [vec![plain.clone()], vec![keyed.clone()], vec![keyed, plain]] {
        for _ in 0..2 {
            let written = engine.write(&inserts, &changes).await.expect("written");
            assert!(written.inserts.iter().all(|insert| matches!(insert, InsertOutcome::New)));
            assert_eq!(written.changes, [true]);
        }
    }
    let listed = engine.list(&Filter { owner: Some(owner), limit: 10, ..Filter::default() }).await;
    assert_eq!(listed.expect("listed").len(), 3);
    let timeline = engine.timeline(before.task.id, 0).await.expect("read").expect("a task");
    assert_eq!(timeline.events.len(), 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn committed_writes_survive_a_server_crash() {
    let server = Server::alone(&[]).await;
    let engine = engine(&server).await;
    let clock = ManualClock::default();
    let owner = new_id(&clock);
    let first = insert(owner, None, &clock);
    engine.write(std::slice::from_ref(&first), &[]).await.expect("written");
    server.restart().await.expect("a restart");
    let second = insert(owner, None, &clock);
    let changes = [claim(&first.task, clock.now())];
    let written = engine.write(&[second], &changes).await.expect("written");
    assert_eq!(written.changes, [true]);

    server.crash().expect("a crash");
    let lost = engine.write(&[insert(owner, None, &clock)], &[]).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    server.resume().await.expect("a start");
    let ids = engine.ids_by_owner(owner, 10).await.expect("read");
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_message_that_cant_be_stored_as_it_is_doesnt_harm_its_batch() {
    let server = Server::shared().await;
    let engine = engine(server).await;
    let clock = ManualClock::default();
    let new = insert(new_id(&clock), None, &clock);
    engine.write(std::slice::from_ref(&new), &[]).await.expect("written");
    let claimed = claim(&new.task, clock.now());
    engine.write(&[], std::slice::from_ref(&claimed)).await.expect("written");
    let progress = Command::Progress { claim: 1, progress: 0.5, message: Some("a\0b".into()) };
    let progress = change(&claimed.task, progress, clock.now());
    let written = engine.write(&[insert(new_id(&clock), None, &clock)], &[progress]).await;
    assert_eq!(written.expect("written").changes, [true]);
    let loaded = engine.load(&[new.task.id]).await.expect("read");
    assert_eq!(loaded[0].state.message.as_deref(), Some("a\u{FFFD}b"));
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn events_of_a_task_keep_their_order_despite_clock_differences() {
    let server = Server::shared().await;
    let engine = engine(server).await;
    let clock = ManualClock::default();
    let new = insert(new_id(&clock), None, &clock);
    engine.write(std::slice::from_ref(&new), &[]).await.expect("written");
    // Claimed by a process whose clock, of which ids are made, is a little behind.
    let behind = clock.now() - SignedDuration::from_millis(300);
    let mut claimed = claim(&new.task, behind);
    claimed.events[0].id = id_at(behind);
    assert!(claimed.events[0].id < new.event.id);
    engine.write(&[], std::slice::from_ref(&claimed)).await.expect("written");
    let events = following(&engine, new.task.owner, new.event.id).await;
    assert_eq!(events, claimed.events);
    let events = following(&engine, new.task.owner, claimed.events[0].id).await;
    assert_eq!(events, []);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn late_commit_is_returned_to_a_reader_that_resumes_earlier() {
    let server = Server::shared().await;
    let settings = server.settings().await.expect("a database");
    let [fast, slow] = [(); 2].map(|()| PostgresEngine::new(&settings).expect("an engine"));
    let clock = ManualClock::default();
    let owner = new_id(&clock);
    let begin = new_id(&clock);
    let decided_first = insert(owner, None, &clock);
    clock.advance(Duration::from_millis(5));
    let committed_first = insert(owner, None, &clock);
    fast.write(std::slice::from_ref(&committed_first), &[]).await.expect("written");
    let events = following(&fast, owner, begin).await;
    assert_eq!(events, std::slice::from_ref(&committed_first.event));
    slow.write(std::slice::from_ref(&decided_first), &[]).await.expect("written");
    // After the newest id, the late one is missed; from the earlier position it is returned.
    let after = committed_first.event.id;
    assert_eq!(following(&fast, owner, after).await, []);
    let events = following(&fast, owner, begin).await;
    assert_eq!(events, [decided_first.event, committed_first.event]);
}

/// With many tasks of other owners, and statistics that know only those.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn stats_of_an_owner_read_only_its_tasks() {
    const OTHERS: &str = "INSERT INTO tasks (id, owner, created_at, changed_at, finished_at, \
         status, ttl, max_attempts, kind, description, data, timeline) \
         SELECT gen_random_uuid(), lpad((n % 5)::text, 32, '0')::uuid, n, n, n, 2, 1, 1, 'echo', \
         'one of many', '1', repeat('x', 300) FROM generate_series(1, 20000) AS n; ANALYZE tasks";
    const SCANS: &str = "SELECT indexrelname = 'tasks_old', sum(idx_scan)::bigint \
         FROM pg_stat_user_indexes WHERE relname = 'tasks' GROUP BY 1 ORDER BY 1";
    let server = Server::shared().await;
    let settings = server.settings().await.expect("a database");
    let name = settings.url.rest().rsplit('/').next().expect("a name");
    let engine = PostgresEngine::new(&settings).expect("an engine");
    engine.ping().await.expect("tables");
    server.execute(name, OTHERS).await.expect("tasks");
    let clock = ManualClock::default();
    let owner = new_id(&clock);
    engine.stats(Some(owner), clock.now()).await.expect("counted");

    // The counts come with the end of the connections that made them.
    drop(engine);
    let mut connection = server.connect(name).await.expect("a connection");
    let of_all = loop {
        let rows = sqlx::query(SCANS).fetch_all(&mut connection).await.expect("counts");
        let scans: Vec<i64> = rows.iter().map(|row| row.get(1)).collect();
        if scans[0] > 0 {
            break scans[1];
        }
    };
    assert_eq!(of_all, 0);
}

/// Plans follow the size of the table, with and without statistics: all statements are
/// prepared on an empty table, then it grows. Counting the tasks of all owners is left out,
/// because it reads all of them in any case.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn statements_do_not_scan_a_large_table() {
    const FILL: &str = "INSERT INTO tasks (id, owner, created_at, changed_at, finished_at, \
         status, ttl, max_attempts, kind, description, data, timeline) \
         SELECT gen_random_uuid(), gen_random_uuid(), n, n, n, 2, 1, 1, 'echo', \
         'one of many', '1', repeat('x', 300) FROM generate_series(1, 20000) AS n";
    let server = Server::alone(&["autovacuum=off"]).await;
    let settings = server.settings().await.expect("a database");
    let name = settings.url.rest().rsplit('/').next().expect("a name").to_owned();
    let engine = Arc::new(PostgresEngine::new(&settings).expect("an engine"));
    let clock = Arc::new(ManualClock::default());
    let broker = Arc::new(MemoryBroker::new());
    let day = SignedDuration::from_hours(24);
    let retention = Retention { ended: day, removed: day };
    let runtime =
        Runtime::new(engine.clone(), clock.clone(), broker, retention, LEASE.unsigned_abs());
    let tasks = runtime.tasks().clone();
    for _ in 0..3 {
        everything(&tasks, engine.as_ref(), clock.as_ref(), 20).await;
    }
    server.execute(&name, FILL).await.expect("tasks");
    // Longer than the lifetime of a plan on such young connections.
    tokio::time::sleep(Duration::from_secs(12)).await;
    for _ in 0..3 {
        everything(&tasks, engine.as_ref(), clock.as_ref(), 220).await;
    }
    server.execute(&name, "VACUUM ANALYZE tasks").await.expect("statistics");
    for _ in 0..3 {
        everything(&tasks, engine.as_ref(), clock.as_ref(), 220).await;
    }
    drop((tasks, runtime, engine));

    // Sessions report their counts when they end. Scans of the small table are fine.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let rows_read = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'tasks'";
    let mut connection = server.connect(&name).await.expect("a connection");
    let rows: i64 =
        sqlx::query_scalar(rows_read).fetch_one(&mut connection).await.expect("a count");
    assert!(rows < 20_000, "sequential scans read {rows} rows");
}

/// Calls every operation of an engine, with `count` tasks.
async fn everything(tasks: &Tasks, engine: &dyn Engine, clock: &ManualClock, count: usize) {
    let owner = new_id(clock);
    let worker: Arc<str> = "a worker".into();
    let mut submitted = Vec::new();
    for index in 0..count {
        let key = index.is_multiple_of(10).then(|| IdempotencyKey {
            key: index.to_string(),
            digest: [1; 32],
            previous_digest: None,
        });
        submitted.push(tasks.submit(NewTask {
            owner,
            kind: "echo".into(),
            queue: miniapp_types::name::QueueName::default(),
            description: "one of many".into(),
            data: raw("1").expect("JSON"),
            ttl: 30,
            max_attempts: 1,
            run_at: None,
            key,
            trace: TraceContext::default(),
        }));
    }
    let submitted = futures_util::future::join_all(submitted).await;
    let submitted: Vec<Task> =
        submitted.into_iter().map(|submitted| submitted.expect("accepted").task).collect();
    let first = new_id(clock);
    for (index, task) in submitted.iter().enumerate() {
        let version = task.state.version;
        let ready = TaskReady::V1 { task_id: task.id, generation: 1, version, queue: None };
        match index % 8 {
            0 | 1 => {
                let claimed = tasks.claim(&ready, &worker, LEASE, false).await.expect("a store");
                let Claimed { claim, .. } = claimed.claimed().expect("claimed");
                tasks.renew(&[claim], LEASE).await.expect("renewed");
                if index % 8 == 0 {
                    tasks.finish(claim, raw("2").expect("JSON")).await.expect("finished");
                }
            }
            2 => drop(tasks.cancel(owner, task.id).await.expect("canceled")),
            3 => tasks.delete(owner, task.id).await.expect("removed"),
            4 => engine.mark_dispatched(&[(task.id, version)], clock.now()).await.expect("check"),
            _ => {}
        }
    }
    for owner in [None, Some(owner)] {
        let statuses = [Status::Awaiting, Status::Executing, Status::Finished, Status::Canceled];
        for status in statuses.into_iter().map(Some).chain([None, Some(Status::Failed)]) {
            let filter = Filter { owner, status, limit: 10, ..Filter::default() };
            // Tasks of all owners are listed by status only if they failed.
            if owner.is_some() || matches!(status, None | Some(Status::Failed)) {
                tasks.list(&filter).await.expect("listed");
            }
        }
        if owner.is_some() {
            tasks.stats(owner).await.expect("counted");
        }
    }
    tasks.get(owner, first).await.expect("read");
    tasks.timeline(owner, submitted[0].id, 0).await.expect("read");
    tasks.events_after(owner, first, 100).await.expect("read");
    engine.ids_by_owner(owner, 100).await.expect("read");
    clock.advance(Duration::from_mins(1));
    let now = clock.now();
    let second = SignedDuration::from_secs(1);
    engine.expired_leases(now, now + second, 100).await.expect("read");
    engine.restart_waits(now, second, second).await.expect("restarted");
    for queues in [TakenQueues::Default, TakenQueues::OthersExcept(Vec::new())] {
        let (lookahead, overdue, visibility_timeout) = (second, second, second);
        let take = TakeDue { queues, now, lookahead, overdue, visibility_timeout, limit: 100 };
        engine.take_due(&take).await.expect("taken");
    }
    let groups = engine.dispatched_groups(now).await.expect("read");
    engine.redispatch(Some(&groups), now, now).await.expect("due again");
    engine.redispatch(None, now, now).await.expect("due again");
    engine.waiting_queues(10).await.expect("read");
    engine.defer(&[(first, 1)], now).await.expect("deferred");
    engine.unpark(&[], &["echo".to_owned()], now, 10).await.expect("due again");
    engine.purge(Timestamp::UNIX_EPOCH, now, 5).await.expect("purged");
}
