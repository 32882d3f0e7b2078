use anyhow::{Result, ensure};
use jiff::SignedDuration;
use miniapp_runtime::clock::id_at;
use miniapp_tasks::domain::Task;
use miniapp_tasks::engine::{Backlog, TakeDue, TakenQueues, WorkerReport};
use miniapp_tasks::{Command, Engine, Filter};
use miniapp_types::task::{ByStatus, Kind, Stats, Worker};
use serde_json::json;
use uuid::Uuid;

use super::{
    Processes, add, add_claimed, add_finished, apply, at, claim, fail, is_stored, spec, store,
    store_all,
};

pub async fn stats_count_by_status([engine, _]: Processes) -> Result<()> {
    ensure!(engine.stats(None, at(0)).await?.by_status == ByStatus::default());
    let owners = [Uuid::new_v4(), Uuid::new_v4()];
    for owner in owners {
        for _ in 0..3 {
            add(&*engine, owner, 0).await?;
        }
        for _ in 0..2 {
            add_claimed(&*engine, owner, 0).await?;
        }
        for _ in 0..4 {
            add_finished(&*engine, owner, 0).await?;
        }
        let task = add(&*engine, owner, 0).await?;
        apply(&*engine, &task, Command::Cancel, 1).await?;
        let task = add_claimed(&*engine, owner, 0).await?;
        apply(&*engine, &task, fail(&task, None), 1).await?;
        for task in [
            add(&*engine, owner, 0).await?,
            add_claimed(&*engine, owner, 0).await?,
            add_finished(&*engine, owner, 0).await?,
        ] {
            apply(&*engine, &task, Command::Delete, 1).await?;
        }
    }
    let one = ByStatus { awaiting: 3, executing: 2, finished: 4, canceled: 1, failed: 1 };
    let both = ByStatus { awaiting: 6, executing: 4, finished: 8, canceled: 2, failed: 2 };
    ensure!(engine.stats(Some(owners[0]), at(9)).await?.by_status == one);
    ensure!(engine.stats(None, at(9)).await?.by_status == both);
    let nobody = engine.stats(Some(Uuid::new_v4()), at(9)).await?;
    let nothing = Stats {
        by_status: ByStatus::default(),
        queue_depth: 0,
        oldest_wait_seconds: 0.0,
        finished_per_minute: 0,
    };
    ensure!(nobody == nothing, "an account without tasks has {nobody:?}");
    Ok(())
}

async fn waits(engine: &dyn Engine, owner: Option<Uuid>, now: u64) -> Result<(u64, f64)> {
    let stats = engine.stats(owner, at(now)).await?;
    Ok((stats.queue_depth, stats.oldest_wait_seconds))
}

pub async fn backlog_counts_by_state([engine, _]: Processes) -> Result<()> {
    let backlog = async |now: u64, most| engine.backlog(at(now), at(now + 11), most).await;
    ensure!(backlog(0, 9).await? == Backlog::default(), "something in an empty store");
    let owner = Uuid::new_v4();
    // Two delayed tasks, and three that are ready since different times.
    for (run_at, count) in [(Some(at(900)), 2), (Some(at(24)), 1)] {
        for _ in 0..count {
            let spec = spec("echo", 0)?;
            store(&*engine, &Task::new(id_at(at(0)), owner, spec, run_at)).await?;
        }
    }
    let mut waiting = Vec::new();
    for seconds in [5, 3, 7] {
        waiting.push(add(&*engine, owner, seconds).await?);
    }
    add_claimed(&*engine, owner, 0).await?;
    add_finished(&*engine, owner, 0).await?;
    let mut expected = Backlog {
        delayed: 3,
        outbox: 3,
        outbox_since: Some(at(3)),
        running: 1,
        ..Backlog::default()
    };
    let found = backlog(20, 9).await?;
    ensure!(found == expected, "{found:?}");
    // Taking a task does not change its age.
    let take = TakeDue {
        queues: TakenQueues::Default,
        now: at(20),
        lookahead: SignedDuration::from_secs(1),
        overdue: SignedDuration::from_secs(2),
        visibility_timeout: SignedDuration::from_secs(10),
        limit: 9,
    };
    ensure!(engine.take_due(&take).await?.len() == 3);
    let found = backlog(20, 9).await?;
    ensure!(found == expected, "taken over: {found:?}");
    // Dispatched.
    engine.mark_dispatched(&[(waiting[1].id, waiting[1].state.version)], at(21)).await?;
    expected.outbox -= 1;
    expected.outbox_since = Some(at(5));
    expected.queued = 1;
    expected.queued_since = Some(at(21));
    let found = backlog(22, 9).await?;
    ensure!(found == expected, "dispatched: {found:?}");
    let found = backlog(22, 1).await?;
    let counts = [found.queued, found.running];
    ensure!(counts == [1, 1] && found.outbox <= 1, "at most 1: {found:?}");
    Ok(())
}

/// Whole seconds are exact.
pub async fn stats_measure_waiting_tasks([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let task = add(&*engine, owner, 10).await?;
    add(&*engine, owner, 12).await?;
    let retried = add_claimed(&*engine, owner, 10).await?;
    apply(&*engine, &retried, fail(&retried, Some(20)), 20).await?;
    add(&*engine, Uuid::new_v4(), 5).await?;
    ensure!(waits(&*engine, Some(owner), 20).await? == (2, 10.0));
    ensure!(waits(&*engine, None, 20).await? == (3, 15.0));
    apply(&*engine, &task, claim(&task), 20).await?;
    ensure!(waits(&*engine, Some(owner), 39).await? == (1, 27.0));
    ensure!(waits(&*engine, Some(owner), 40).await? == (2, 28.0), "the retry's time has come");
    Ok(())
}

pub async fn stats_count_finished_tasks_of_the_last_minute([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let mut finished = Vec::new();
    for seconds in [0, 30, 50] {
        finished.push(add_finished(&*engine, owner, seconds).await?);
    }
    add_finished(&*engine, Uuid::new_v4(), 50).await?;
    let task = add(&*engine, owner, 50).await?;
    apply(&*engine, &task, Command::Cancel, 50).await?;
    for (now, count) in [(50, 3), (80, 2), (100, 1), (200, 0)] {
        let finished = engine.stats(Some(owner), at(now)).await?.finished_per_minute;
        ensure!(finished == count, "{finished} in the minute before {now}");
    }
    ensure!(engine.stats(None, at(100)).await?.finished_per_minute == 2);
    // A deletion does not change the end of a task.
    apply(&*engine, &finished[0], Command::Delete, 500).await?;
    ensure!(engine.stats(Some(owner), at(501)).await?.finished_per_minute == 0);
    Ok(())
}

pub async fn purge_deletes_only_old_tasks([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let waiting = add(&*engine, owner, 0).await?;
    let running = add_claimed(&*engine, owner, 0).await?;
    let ended = add_finished(&*engine, owner, 0).await?;
    let restarted = add_finished(&*engine, owner, 0).await?;
    let restarted = apply(&*engine, &restarted, Command::Restart, 1).await?;
    let newer = add_finished(&*engine, owner, 100).await?;
    let removed = add(&*engine, owner, 0).await?;
    let removed = apply(&*engine, &removed, Command::Delete, 50).await?;
    let fresh = add(&*engine, owner, 0).await?;
    let fresh = apply(&*engine, &fresh, Command::Delete, 150).await?;

    // Ended tasks are kept longer than deleted ones.
    ensure!(engine.purge(at(10), at(120), 100).await? == 2);
    for gone in [&ended, &removed] {
        ensure!(engine.load(&[gone.id]).await?.is_empty(), "it is still there");
        ensure!(engine.timeline(gone.id, 0).await?.is_none(), "its events are still there");
    }
    for kept in [&waiting, &running, &restarted, &newer, &fresh] {
        is_stored(&*engine, kept).await?;
    }
    ensure!(engine.purge(at(10), at(120), 100).await? == 0);
    ensure!(engine.purge(at(120), at(120), 100).await? == 1, "the newer one");
    ensure!(engine.purge(at(120), at(200), 100).await? == 1, "the fresh one");
    let left = engine.list(&Filter { limit: 10, ..Filter::default() }).await?;
    ensure!(left.len() == 3, "{} are left", left.len());
    Ok(())
}

pub async fn purge_respects_its_limit([engine, _]: Processes) -> Result<()> {
    let mut tasks: Vec<Task> = Vec::new();
    for seconds in 0..10 {
        tasks.push(add_finished(&*engine, Uuid::new_v4(), seconds).await?);
    }
    store_all(&*engine, &[super::new_task(Uuid::new_v4(), 0)?]).await?;
    for expected in [4, 4, 2, 0] {
        ensure!(engine.purge(at(100), at(100), 4).await? == expected);
    }
    ensure!(engine.load(&super::ids(&tasks)).await?.is_empty());
    Ok(())
}

pub async fn worker_reports_are_stored_and_deleted([engine, other]: Processes) -> Result<()> {
    let worker = |name: &str, running: u32, seen: u64| WorkerReport {
        worker: Worker {
            queues: Vec::new(),
            name: name.to_owned(),
            version: "1.0".to_owned(),
            kinds: vec!["echo".to_owned(), "sleep".to_owned()],
            running,
            capacity: 8,
            started_at: at(0),
            last_seen_at: at(seen),
        },
        schemas: [("echo".to_owned(), json!({ "maximum": 1.5 }))].into(),
        has_kind_queues: true,
        is_remote: false,
    };
    for report in [worker("b", 1, 10), worker("a", 2, 10), worker("c", 3, 5)] {
        engine.report_worker(&report).await?;
    }
    let all = [worker("a", 2, 10), worker("b", 1, 10), worker("c", 3, 5)];
    ensure!(other.workers(at(0)).await? == all);
    ensure!(other.workers(at(10)).await? == all[..2]);
    engine.report_worker(&worker("a", 7, 20)).await?;
    ensure!(other.workers(at(11)).await? == [worker("a", 7, 20)]);
    engine.forget_worker("a").await?;
    engine.forget_worker("nobody").await?;
    ensure!(other.workers(at(0)).await? == all[1..]);
    // A killed worker does not delete its report.
    engine.purge(at(0), at(5), 1).await?;
    ensure!(other.workers(at(0)).await? == all[1..2]);
    Ok(())
}

pub async fn announced_kinds_are_updated([engine, other]: Processes) -> Result<()> {
    let kind = |name: &str, description: &str| Kind {
        name: name.to_owned(),
        description: description.to_owned(),
        data_schema: json!({ "type": "object" }),
        example: json!({ "a": [1, 2.5, null] }),
        queue: "gpu".parse().expect("a name"),
    };
    ensure!(engine.kinds().await?.is_empty());
    engine.announce_kinds(&[kind("sleep", "Sleeps"), kind("echo", "Echoes")]).await?;
    other.announce_kinds(&[kind("hash", "Hashes"), kind("echo", "Says it back")]).await?;
    let expected = [kind("echo", "Says it back"), kind("hash", "Hashes"), kind("sleep", "Sleeps")];
    ensure!(engine.kinds().await? == expected);
    Ok(())
}

pub async fn ping_succeeds([engine, other]: Processes) -> Result<()> {
    engine.ping().await?;
    Ok(other.ping().await?)
}
