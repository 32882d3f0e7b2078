//! The contract of every task [`Engine`].
//!
//! As in [`miniapp_tasks::Tasks`], the state machine makes the changes; the engine stores,
//! guards and finds them. Each case gets an empty store opened by two processes.

pub mod due;
pub mod events;
pub mod keys;
pub mod leases;
pub mod lists;
pub mod maintenance;
pub mod processes;
pub mod restore;
pub mod steps;
pub mod timelines;
pub mod writes;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use miniapp_tasks::domain::{Spec, Task};
use miniapp_tasks::engine::{Change, Insert, InsertOutcome};
use miniapp_tasks::{Claim, Command, Engine};
use miniapp_types::task::TaskError;
use uuid::Uuid;

use crate::task::{self, LEASE, claim, insert, raw};

/// Two engines on one empty store, as in two processes.
pub type Processes = [Arc<dyn Engine>; 2];

/// Defines one test per case. `$fixture` is an async function in scope that calls its argument
/// with a new, empty store, as two processes see it.
#[macro_export]
macro_rules! task_engine_tests {
    ($(#[$attribute:meta])* $fixture:ident) => {
        $crate::conformance_tests! {
            tasks, $fixture, [$(#[$attribute])*],
            writes {
                load_returns_the_inserted_task,
                load_returns_every_change,
                one_write_applies_several_changes_of_a_task,
                change_of_an_old_version_is_refused,
                change_of_a_missing_task_is_refused,
                large_batch_returns_results_in_order,
                failed_batch_is_rolled_back,
                empty_batches_are_accepted,
            }
            keys {
                duplicate_key_returns_the_first_task,
                duplicate_key_does_not_fail_its_batch,
                keys_are_unique_per_owner,
                key_survives_changes_of_its_task,
                deleted_task_releases_its_key,
            }
            timelines {
                timeline_returns_all_events_in_order,
                timeline_of_a_missing_task_is_none,
                very_long_timeline_is_complete,
                reads_of_a_growing_timeline_have_no_gaps,
                parts_of_a_long_timeline_are_small,
                page_before_an_event_is_near,
            }
            lists {
                list_returns_newest_first,
                list_returns_pages,
                list_stops_at_max_bytes,
                list_applies_every_filter,
                list_omits_deleted_tasks,
                ids_by_owner_returns_the_owners_tasks,
            }
            events {
                events_after_returns_oldest_first,
                events_after_returns_pages,
                events_after_returns_final_events,
                events_after_includes_events_before_a_restart,
                events_after_returns_all_events_of_one_instant,
                events_after_returns_a_very_long_timeline,
                concurrent_readers_get_long_timelines,
                events_after_merges_long_timelines,
            }
            leases {
                renewal_increments_the_version,
                lost_claim_is_not_renewed,
                renewal_returns_cancel_requests,
                many_leases_are_renewed_in_one_call,
                expired_leases_are_returned_oldest_first,
                leases_far_ahead_are_returned,
            }
            due {
                immediate_task_is_taken_when_overdue,
                delayed_task_is_taken_shortly_before_its_time,
                taken_task_is_invisible_until_its_timeout,
                longest_due_tasks_are_taken_first,
                taken_task_has_the_data_of_its_message,
                dispatched_task_is_not_due,
                dispatch_of_an_old_version_keeps_the_outbox_entry,
                only_waiting_tasks_are_due,
                redispatch_makes_dispatched_tasks_due,
                due_tasks_are_taken_by_queue,
                redispatch_selects_groups,
                deferred_task_is_due_again_later,
                parked_tasks_return_for_a_worker_that_runs_them,
                waiting_queues_are_ordered_by_their_oldest_task,
                waits_restart_after_the_clock_was_set_back,
                dispatched_tasks_are_due_again_after_the_clock_was_set_back,
            }
            maintenance {
                stats_count_by_status,
                stats_measure_waiting_tasks,
                backlog_counts_by_state,
                stats_count_finished_tasks_of_the_last_minute,
                purge_deletes_only_old_tasks,
                purge_respects_its_limit,
                worker_reports_are_stored_and_deleted,
                announced_kinds_are_updated,
                ping_succeeds,
            }
            restore {
                owners_are_returned_in_pages,
                raised_versions_void_claims,
                versions_are_raised_by_each_restore,
                raised_versions_make_waiting_tasks_due,
            }
            steps {
                steps_are_remembered_for_the_generation,
                restart_begins_without_steps,
                lost_claim_cannot_remember_a_step,
                remembered_step_is_kept,
                purge_deletes_steps,
                large_steps_are_stored,
                step_and_expiry_do_not_both_win,
            }
            processes {
                one_writer_wins_each_version,
                one_writer_wins_each_task_of_a_batch,
                one_insert_wins_a_key,
                concurrent_takers_share_due_tasks,
                renewal_and_expiry_do_not_both_win,
                writes_are_visible_to_other_processes,
            }
        }
    };
}

/// Returns the time `seconds` after the start of a case.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_second(1_900_000_000).unwrap_or_default() + Duration::from_secs(seconds)
}

fn spec(kind: &str, seconds: u64) -> Result<Spec> {
    task::spec(kind, at(seconds))
}

/// Returns a task that was submitted at [`at`]`(seconds)` and may run immediately.
fn new_task(owner: Uuid, seconds: u64) -> Result<Task> {
    task::new(owner, at(seconds))
}

/// Applies `command` to `task` at [`at`]`(seconds)`.
fn change(task: &Task, command: Command, seconds: u64) -> Result<Change> {
    task::change(task, command, at(seconds))
}

async fn store(engine: &dyn Engine, task: &Task) -> Result<()> {
    store_all(engine, std::slice::from_ref(task)).await
}

async fn store_all(engine: &dyn Engine, tasks: &[Task]) -> Result<()> {
    let inserts: Vec<Insert> = tasks.iter().map(|task| insert(task, None)).collect();
    let written = engine.write(&inserts, &[]).await?;
    let is_new = |inserted: &InsertOutcome| matches!(inserted, InsertOutcome::New);
    ensure!(written.inserts.len() == tasks.len(), "not one outcome per insert");
    ensure!(written.inserts.iter().all(is_new), "new tasks were not stored");
    Ok(())
}

/// Stores a task that was accepted so many seconds after the tests began.
async fn add(engine: &dyn Engine, owner: Uuid, seconds: u64) -> Result<Task> {
    let task = new_task(owner, seconds)?;
    store(engine, &task).await?;
    Ok(task)
}

/// Stores what `command` makes of `task` and gives that.
async fn apply(engine: &dyn Engine, task: &Task, command: Command, seconds: u64) -> Result<Task> {
    let name = format!("{command:?}");
    let change = change(task, command, seconds).with_context(|| name.clone())?;
    let written = engine.write(&[], std::slice::from_ref(&change)).await?;
    ensure!(written.changes == [true], "{name} was not stored: {:?}", written.changes);
    Ok(change.task)
}

/// Stores a task in a worker's hands.
async fn add_claimed(engine: &dyn Engine, owner: Uuid, seconds: u64) -> Result<Task> {
    let task = add(engine, owner, seconds).await?;
    apply(engine, &task, claim(&task), seconds).await
}

/// Stores a task that ended at once.
async fn add_finished(engine: &dyn Engine, owner: Uuid, seconds: u64) -> Result<Task> {
    let task = add_claimed(engine, owner, seconds).await?;
    apply(engine, &task, finish(&task)?, seconds).await
}

async fn stored(engine: &dyn Engine, id: Uuid) -> Result<Task> {
    let mut found = engine.load(&[id]).await?;
    ensure!(found.len() <= 1, "a task is there {} times", found.len());
    found.pop().context("the task is not there")
}

/// Whether the store tells exactly this.
async fn is_stored(engine: &dyn Engine, task: &Task) -> Result<()> {
    same(&stored(engine, task.id).await?, task)
}

fn same(found: &Task, expected: &Task) -> Result<()> {
    let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
    ensure!(found == expected, "found\n  {found}\nwhere there should be\n  {expected}");
    Ok(())
}

fn ids<'t>(tasks: impl IntoIterator<Item = &'t Task>) -> Vec<Uuid> {
    tasks.into_iter().map(|task| task.id).collect()
}

/// The claim in the hands of the worker that runs `task`.
fn held(task: &Task) -> Claim {
    Claim { task_id: task.id, token: task.state.claim }
}

fn progress(task: &Task, message: &str) -> Command {
    let message = Some(message.to_owned());
    Command::Progress { claim: task.state.claim, progress: 0.25, message }
}

fn finish(task: &Task) -> Result<Command> {
    Ok(Command::Finish { claim: task.state.claim, result: raw("{\"ok\":true}")?.into() })
}

fn expire(task: &Task) -> Command {
    Command::ExpireLease { version: task.state.version }
}

/// A failure after which another attempt begins, if there is a `retry_in`.
fn fail(task: &Task, retry_in: Option<u64>) -> Command {
    let error = TaskError { code: "broken".to_owned(), message: "It broke".to_owned() };
    let retry_in = retry_in.and_then(|seconds| Duration::from_secs(seconds).try_into().ok());
    Command::Fail { claim: task.state.claim, error, retry_in }
}
