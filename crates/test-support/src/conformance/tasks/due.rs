use std::collections::HashSet;

use anyhow::{Result, ensure};
use jiff::SignedDuration;
use miniapp_runtime::clock::id_at;
use miniapp_tasks::domain::{Spec, Task};
use miniapp_tasks::engine::{DueTask, PARKED, TakeDue, TakenQueues, TaskGroup};
use miniapp_tasks::{Command, Engine};
use miniapp_types::name::QueueName;
use miniapp_types::trace::TraceContext;
use uuid::Uuid;

use super::{
    Processes, add, add_claimed, add_finished, apply, at, claim, expire, fail, finish, ids,
    is_stored, spec, store,
};

const LOOKAHEAD: u64 = 1;
const OVERDUE: u64 = 2;
const HOLD: u64 = 10;
/// Seconds after which a taken task is due again.
const AGAIN: u64 = HOLD + LOOKAHEAD + OVERDUE;

fn seconds(count: u64) -> SignedDuration {
    SignedDuration::from_secs(count.cast_signed())
}

/// Takes the tasks due at `now` seconds.
pub(super) async fn take(engine: &dyn Engine, now: u64, limit: u32) -> Result<Vec<DueTask>> {
    take_of(engine, TakenQueues::Default, now, limit).await
}

async fn take_of(
    engine: &dyn Engine,
    queues: TakenQueues,
    now: u64,
    limit: u32,
) -> Result<Vec<DueTask>> {
    let (lookahead, overdue, visibility_timeout) =
        (seconds(LOOKAHEAD), seconds(OVERDUE), seconds(HOLD));
    let take = TakeDue { queues, now: at(now), lookahead, overdue, visibility_timeout, limit };
    Ok(engine.take_due(&take).await?)
}

/// Checks that exactly `expected` can be taken, in any order.
async fn takes(engine: &dyn Engine, now: u64, expected: &[&Task]) -> Result<()> {
    let taken = take(engine, now, 1000).await?;
    let found: HashSet<Uuid> = taken.iter().map(|due| due.id).collect();
    ensure!(found.len() == taken.len(), "one was taken twice");
    let expected: HashSet<Uuid> = ids(expected.iter().copied()).into_iter().collect();
    ensure!(found == expected, "{} instead of {} at {now}", found.len(), expected.len());
    Ok(())
}

async fn add_delayed(engine: &dyn Engine, now: u64, run_at: u64) -> Result<Task> {
    let task = Task::new(id_at(at(now)), Uuid::new_v4(), spec("echo", now)?, Some(at(run_at)));
    store(engine, &task).await?;
    Ok(task)
}

/// The process that stored a task dispatches it, so others wait until it is overdue.
pub async fn immediate_task_is_taken_when_overdue([engine, other]: Processes) -> Result<()> {
    let task = add(&*engine, Uuid::new_v4(), 10).await?;
    let past = add_delayed(&*engine, 10, 5).await?;
    for (engine, now) in [(&engine, 10), (&other, 11)] {
        takes(&**engine, now, &[]).await?;
    }
    takes(&*other, 10 + OVERDUE, &[&task, &past]).await?;
    is_stored(&*engine, &task).await
}

pub async fn delayed_task_is_taken_shortly_before_its_time([engine, _]: Processes) -> Result<()> {
    let task = add_delayed(&*engine, 10, 100).await?;
    takes(&*engine, 50, &[]).await?;
    takes(&*engine, 100 - LOOKAHEAD - 1, &[]).await?;
    takes(&*engine, 100 - LOOKAHEAD, &[&task]).await?;

    let retried = add_claimed(&*engine, Uuid::new_v4(), 200).await?;
    let retried = apply(&*engine, &retried, fail(&retried, Some(60)), 201).await?;
    takes(&*engine, 201, &[&task]).await?;
    takes(&*engine, 261 - LOOKAHEAD, &[&task, &retried]).await
}

pub async fn taken_task_is_invisible_until_its_timeout([engine, other]: Processes) -> Result<()> {
    let now = add(&*engine, Uuid::new_v4(), 0).await?;
    let delayed = add_delayed(&*engine, 0, 10).await?;
    takes(&*engine, 10, &[&now, &delayed]).await?;
    for later in [10, 11, 10 + HOLD - LOOKAHEAD - 1] {
        takes(&*engine, later, &[]).await?;
        takes(&*other, later, &[]).await?;
    }
    takes(&*other, 10 + AGAIN, &[&now, &delayed]).await?;
    // Taking is not a change of the version: messages in flight stay valid.
    is_stored(&*engine, &now).await?;
    is_stored(&*engine, &delayed).await
}

pub async fn longest_due_tasks_are_taken_first([engine, _]: Processes) -> Result<()> {
    let mut expected = Vec::new();
    for created in [3, 1, 2, 5, 4] {
        expected.push(add(&*engine, Uuid::new_v4(), created).await?);
    }
    expected.sort_by_key(|task| task.spec.created_at);
    for pair in expected.chunks(2) {
        let taken: HashSet<Uuid> =
            take(&*engine, 9, 2).await?.into_iter().map(|due| due.id).collect();
        ensure!(taken == ids(pair).into_iter().collect(), "not the oldest");
    }
    ensure!(take(&*engine, 9, 2).await?.is_empty());
    Ok(())
}

pub async fn taken_task_has_the_data_of_its_message([engine, _]: Processes) -> Result<()> {
    let trace = TraceContext {
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        tracestate: Some("vendor=1".into()),
        baggage: Some("key=value".into()),
    };
    let spec = Spec { trace: trace.clone(), ..spec("echo", 0)? };
    let task = Task::new(id_at(at(0)), Uuid::new_v4(), spec, None);
    store(&*engine, &task).await?;
    let task = apply(&*engine, &task, Command::Cancel, 1).await?;
    let task = apply(&*engine, &task, Command::Restart, 2).await?;
    let taken = take(&*engine, 10, 10).await?;
    let [due] = taken.as_slice() else { anyhow::bail!("{} are due", taken.len()) };
    ensure!((due.id, due.generation, due.version) == (task.id, 2, task.state.version));
    ensure!(due.at == at(2), "due at {}", due.at);
    ensure!(due.trace == trace, "in another trace");
    Ok(())
}

pub async fn dispatched_task_is_not_due([engine, other]: Processes) -> Result<()> {
    let mut sent = Vec::new();
    for _ in 0..300 {
        sent.push(add(&*engine, Uuid::new_v4(), 0).await?);
    }
    let open = add(&*engine, Uuid::new_v4(), 0).await?;
    takes(&*engine, 1, &[]).await?;
    let notes: Vec<(Uuid, u64)> = sent.iter().map(|task| (task.id, task.state.version)).collect();
    engine.mark_dispatched(&notes, at(1)).await?;
    takes(&*other, 100, &[&open]).await?;
    engine.mark_dispatched(&[(open.id, open.state.version)], at(101)).await?;
    takes(&*other, 1000, &[]).await?;
    for task in sent.iter().chain([&open]) {
        is_stored(&*engine, task).await?;
    }
    Ok(())
}

pub async fn dispatch_of_an_old_version_keeps_the_outbox_entry(
    [engine, _]: Processes,
) -> Result<()> {
    let first = add(&*engine, Uuid::new_v4(), 0).await?;
    let sent = (first.id, first.state.version);
    let task = apply(&*engine, &first, claim(&first), 1).await?;
    let task = apply(&*engine, &task, fail(&task, Some(5)), 2).await?;
    engine.mark_dispatched(&[sent, (Uuid::new_v4(), 1)], at(3)).await?;
    takes(&*engine, 100, &[&task]).await
}

pub async fn only_waiting_tasks_are_due([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    add_claimed(&*engine, owner, 0).await?;
    let ended = add_finished(&*engine, owner, 0).await?;
    for command in [Command::Cancel, Command::Delete] {
        let task = add(&*engine, owner, 0).await?;
        apply(&*engine, &task, command, 1).await?;
    }
    takes(&*engine, 1000, &[]).await?;

    // Each return to the queue makes the task due again.
    let restarted = apply(&*engine, &ended, Command::Restart, 1001).await?;
    let released = add_claimed(&*engine, owner, 1000).await?;
    let release = Command::Release { claim: released.state.claim };
    let released = apply(&*engine, &released, release, 1001).await?;
    let lost = add_claimed(&*engine, owner, 1000).await?;
    let lost = apply(&*engine, &lost, expire(&lost), 1001).await?;
    takes(&*engine, 1001 + OVERDUE, &[&restarted, &released, &lost]).await?;
    for task in [restarted, released, lost] {
        let task = apply(&*engine, &task, claim(&task), 1004).await?;
        apply(&*engine, &task, finish(&task)?, 1005).await?;
    }
    takes(&*engine, 2000, &[]).await
}

pub async fn redispatch_makes_dispatched_tasks_due([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let mut sent = Vec::new();
    for created in 0..5 {
        let task = add(&*engine, owner, created).await?;
        engine.mark_dispatched(&[(task.id, task.state.version)], at(10 + created)).await?;
        sent.push(task);
    }
    let claimed = apply(&*engine, &sent[0], claim(&sent[0]), 20).await?;
    apply(&*engine, &sent[1], Command::Cancel, 20).await?;
    ensure!(engine.redispatch(None, at(9), at(100)).await? == 0, "too early");
    ensure!(engine.redispatch(None, at(13), at(100)).await? == 2);
    takes(&*engine, 100, &[&sent[2], &sent[3]]).await?;
    ensure!(engine.redispatch(None, at(13), at(100)).await? == 0, "again, though not sent again");
    ensure!(engine.redispatch(None, at(100), at(100)).await? == 1);
    takes(&*engine, 100, &[&sent[4]]).await?;
    for task in [&claimed, &sent[2], &sent[3], &sent[4]] {
        is_stored(&*engine, task).await?;
    }
    Ok(())
}

async fn restart_waits(engine: &dyn Engine, now: u64, set_back_by: u64) -> Result<u64> {
    Ok(engine.restart_waits(at(now), seconds(set_back_by), seconds(OVERDUE)).await?)
}

pub async fn waits_restart_after_the_clock_was_set_back([engine, other]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let immediate = add(&*engine, owner, 3600).await?;
    let retried = add_claimed(&*engine, owner, 3600).await?;
    let retried = apply(&*engine, &retried, fail(&retried, Some(4)), 3601).await?;
    // The owner's time is not a wait.
    let chosen = add_delayed(&*engine, 3600, 9000).await?;
    ensure!(restart_waits(&*engine, 3602, 0).await? == 0, "the clock was not set back");
    takes(&*other, 10, &[]).await?;
    ensure!(restart_waits(&*other, 10, 0).await? == 2);
    takes(&*engine, 10, &[&immediate]).await?;
    ensure!(restart_waits(&*engine, 11, 0).await? == 0, "restarted twice");
    takes(&*engine, 13, &[]).await?;
    let taken = take(&*other, 14, 10).await?;
    let taken: Vec<_> = taken.iter().map(|due| (due.id, due.at)).collect();
    ensure!(taken == [(retried.id, at(14))], "{taken:?}");
    takes(&*engine, 9000 - LOOKAHEAD, &[&immediate, &retried, &chosen]).await?;

    // With a known step, the part of the wait that has passed counts.
    let again = add_claimed(&*engine, owner, 20_000).await?;
    let again = apply(&*engine, &again, fail(&again, Some(60)), 20_001).await?;
    ensure!(restart_waits(&*engine, 20_031 - 3600, 3600).await? == 1);
    takes(&*engine, 20_060 - 3600, &[&immediate, &retried, &chosen]).await?;
    takes(&*engine, 20_061 - 3600, &[&again]).await
}

pub async fn dispatched_tasks_are_due_again_after_the_clock_was_set_back(
    [engine, _]: Processes,
) -> Result<()> {
    let task = add(&*engine, Uuid::new_v4(), 3600).await?;
    engine.mark_dispatched(&[(task.id, task.state.version)], at(3601)).await?;
    ensure!(engine.redispatch(None, at(10), at(40)).await? == 0);
    ensure!(restart_waits(&*engine, 10, 0).await? == 1);
    ensure!(engine.redispatch(None, at(9), at(40)).await? == 0, "too early");
    ensure!(engine.redispatch(None, at(10), at(40)).await? == 1);
    takes(&*engine, 40, &[&task]).await
}

/// Stores a task that waits in `queue` since `created` seconds.
async fn add_queued(engine: &dyn Engine, queue: &str, kind: &str, created: u64) -> Result<Task> {
    let spec = Spec { queue: queue.parse()?, ..spec(kind, created)? };
    let task = Task::new(id_at(at(created)), Uuid::new_v4(), spec, None);
    store(engine, &task).await?;
    Ok(task)
}

pub async fn due_tasks_are_taken_by_queue([engine, _]: Processes) -> Result<()> {
    let default = add(&*engine, Uuid::new_v4(), 0).await?;
    let gpu = add_queued(&*engine, "gpu", "resize", 1).await?;
    let mail = add_queued(&*engine, "mail", "send", 2).await?;
    let full: QueueName = "gpu".parse()?;
    for (queues, expected) in [
        (TakenQueues::OthersExcept(vec![full]), &mail),
        (TakenQueues::OthersExcept(Vec::new()), &gpu),
        (TakenQueues::Default, &default),
    ] {
        let taken = take_of(&*engine, queues.clone(), 10, 10).await?;
        let [due] = taken.as_slice() else { anyhow::bail!("{queues:?}: {}", taken.len()) };
        ensure!(due.id == expected.id, "{queues:?}");
        ensure!((due.queue, &due.kind) == (expected.spec.queue, &expected.spec.kind));
    }
    is_stored(&*engine, &gpu).await
}

pub async fn redispatch_selects_groups([engine, _]: Processes) -> Result<()> {
    let mut tasks = Vec::new();
    for (queue, kind) in [("default", "echo"), ("gpu", "echo"), ("gpu", "resize"), ("gpu", "echo")]
    {
        let task = add_queued(&*engine, queue, kind, 0).await?;
        engine.mark_dispatched(&[(task.id, task.state.version)], at(5)).await?;
        tasks.push(task);
    }
    let group = |task: &Task| TaskGroup { queue: task.spec.queue, kind: task.spec.kind.clone() };
    ensure!(engine.dispatched_groups(at(4)).await?.is_empty(), "too early");
    let mut groups = engine.dispatched_groups(at(5)).await?;
    groups.sort();
    ensure!(groups == [group(&tasks[0]), group(&tasks[1]), group(&tasks[2])], "{groups:?}");
    ensure!(engine.redispatch(Some(&[]), at(5), at(100)).await? == 0);
    ensure!(engine.redispatch(Some(&groups[1..2]), at(5), at(100)).await? == 2);
    let taken = take_of(&*engine, TakenQueues::OthersExcept(Vec::new()), 100, 10).await?;
    let taken: HashSet<Uuid> = taken.iter().map(|due| due.id).collect();
    ensure!(taken == HashSet::from([tasks[1].id, tasks[3].id]));
    ensure!(engine.dispatched_groups(at(5)).await?.len() == 2);
    Ok(())
}

pub async fn waiting_queues_are_ordered_by_their_oldest_task([engine, _]: Processes) -> Result<()> {
    for (queue, created) in [("b", 3), ("a", 2), ("c", 1), ("b", 9), ("default", 0)] {
        add_queued(&*engine, queue, "echo", created).await?;
    }
    let names = async |limit| -> Result<Vec<String>> {
        Ok(engine.waiting_queues(limit).await?.iter().map(ToString::to_string).collect())
    };
    ensure!(names(10).await? == ["c", "a", "b"]);
    ensure!(names(2).await? == ["c", "a"]);
    Ok(())
}

pub async fn deferred_task_is_due_again_later([engine, _]: Processes) -> Result<()> {
    let task = add(&*engine, Uuid::new_v4(), 0).await?;
    let sent = (task.id, task.state.version);
    engine.mark_dispatched(&[sent], at(1)).await?;
    engine.defer(&[sent], at(10)).await?;
    engine.defer(&[sent], at(0)).await?;
    // What was published before is void.
    engine.mark_dispatched(&[sent], at(2)).await?;
    ensure!(take(&*engine, 9, 10).await?.is_empty());
    let taken = take(&*engine, 10 + OVERDUE, 10).await?;
    let [due] = taken.as_slice() else { anyhow::bail!("{} are due", taken.len()) };
    ensure!((due.id, due.version) == (task.id, task.state.version + 1));
    let ended = add_finished(&*engine, Uuid::new_v4(), 0).await?;
    engine.defer(&[(ended.id, ended.state.version)], at(0)).await?;
    is_stored(&*engine, &ended).await
}

pub async fn parked_tasks_return_for_a_worker_that_runs_them([engine, _]: Processes) -> Result<()> {
    let mut parked = Vec::new();
    for (queue, kind) in [("default", "a"), ("default", "b"), ("gpu", "a"), ("gpu", "c")] {
        let task = add_queued(&*engine, queue, kind, 0).await?;
        engine.defer(&[(task.id, task.state.version)], PARKED).await?;
        parked.push(task.id);
    }
    let gpu: QueueName = "gpu".parse()?;
    let kinds = ["a".to_owned(), "b".to_owned()];
    for queues in [TakenQueues::Default, TakenQueues::OthersExcept(Vec::new())] {
        ensure!(take_of(&*engine, queues, 1_000_000, 10).await?.is_empty());
    }
    ensure!(engine.unpark(&[], &["d".to_owned()], at(9), 10).await? == 0);
    ensure!(engine.unpark(&[gpu], &kinds, at(9), 10).await? == 1);
    let taken = take_of(&*engine, TakenQueues::OthersExcept(Vec::new()), 9, 10).await?;
    ensure!(taken.iter().map(|due| due.id).eq([parked[2]]));
    ensure!(engine.unpark(&[], &kinds, at(9), 1).await? == 1);
    ensure!(engine.unpark(&[], &kinds, at(9), 10).await? == 1);
    ensure!(engine.unpark(&[], &kinds, at(9), 10).await? == 0);
    ensure!(take(&*engine, 9, 10).await?.len() == 2);
    Ok(())
}
