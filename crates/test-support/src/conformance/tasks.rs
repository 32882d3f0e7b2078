//! What every [`Engine`] of tasks has to do.
//!
//! The state machine makes the changes, as it does for [`miniapp_tasks::Tasks`]; the engine has
//! to keep them, guard them, and find them again. Each case gets a store in the hands of
//! two processes.

pub mod due;
pub mod events;
pub mod keys;
pub mod leases;
pub mod lists;
pub mod processes;
pub mod timelines;
pub mod upkeep;
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

/// Two engines on one store that holds nothing yet, as two processes have them.
pub type Processes = [Arc<dyn Engine>; 2];

/// Defines one test per case. `$fixture` is an async function in scope that calls its argument
/// with a new, empty store, as two processes see it.
#[macro_export]
macro_rules! task_engine_tests {
    ($(#[$attribute:meta])* $fixture:ident) => {
        $crate::conformance_tests! {
            tasks, $fixture, [$(#[$attribute])*],
            writes {
                a_task_is_kept_as_it_is,
                every_change_is_kept_as_it_is,
                changes_can_be_combined,
                a_change_of_what_moved_on_is_refused,
                a_change_of_what_is_not_there_is_refused,
                a_large_batch_is_answered_in_its_order,
                a_batch_that_fails_leaves_nothing,
                nothing_is_no_trouble,
            }
            keys {
                a_known_key_is_told,
                a_known_key_doesnt_hold_up_its_batch,
                a_key_belongs_to_its_owner,
                a_key_stays_with_its_task,
                a_removed_task_frees_its_key,
            }
            timelines {
                a_timeline_tells_everything_in_order,
                a_missing_task_has_no_timeline,
                a_very_long_timeline_is_whole,
                a_growing_timeline_is_read_whole,
            }
            lists {
                tasks_are_listed_newest_first,
                tasks_are_listed_in_pages,
                a_list_ends_where_it_is_enough,
                tasks_are_listed_by_every_filter,
                removed_tasks_are_not_listed,
                owned_tasks_are_told,
            }
            events {
                events_are_told_oldest_first,
                events_are_told_in_pages,
                every_end_is_told,
                a_restarted_task_tells_its_past,
                events_of_one_moment_are_all_told,
                a_very_long_timeline_is_told_whole,
                many_can_read_long_timelines_at_once,
            }
            leases {
                a_renewed_lease_is_a_change,
                a_lost_claim_is_not_renewed,
                a_renewal_tells_of_a_cancel,
                many_leases_are_renewed_together,
                leases_that_ran_out_are_found,
            }
            due {
                a_task_of_now_is_taken_when_overdue,
                a_delayed_task_is_taken_before_its_time,
                what_is_taken_is_left_to_the_taker,
                the_longest_due_are_taken_first,
                a_due_task_tells_what_to_send,
                what_was_dispatched_is_not_due,
                an_old_message_doesnt_end_a_new_duty,
                only_waiting_tasks_are_due,
                lost_messages_are_due_again,
            }
            upkeep {
                tasks_are_counted,
                waiting_tasks_are_measured,
                what_waits_is_counted_by_what_for,
                ends_of_the_last_minute_are_counted,
                the_old_is_forgotten_and_nothing_else,
                little_is_forgotten_at_a_time,
                workers_report_and_leave,
                kinds_are_announced_once_and_again,
                it_answers,
            }
            processes {
                one_writer_wins_each_version,
                one_writer_wins_each_task_of_a_batch,
                one_insert_wins_a_key,
                two_takers_share_what_is_due,
                a_renewal_and_the_reaper_dont_both_win,
                one_process_sees_what_the_other_wrote,
            }
        }
    };
}

/// So many seconds after the tests began.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_second(1_900_000_000).unwrap_or_default() + Duration::from_secs(seconds)
}

fn spec(kind: &str, seconds: u64) -> Result<Spec> {
    task::spec(kind, at(seconds))
}

/// A task that was accepted so many seconds after the tests began, to be run at once.
fn new_task(owner: Uuid, seconds: u64) -> Result<Task> {
    task::new(owner, at(seconds))
}

/// The change that `command` makes of `task`.
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
    ensure!(written.inserts.len() == tasks.len(), "not one answer an insert");
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

/// A failure after which another attempt begins, if there is a `retry_in`.
fn fail(task: &Task, retry_in: Option<u64>) -> Command {
    let error = TaskError { code: "broken".to_owned(), message: "It broke".to_owned() };
    let retry_in = retry_in.and_then(|seconds| Duration::from_secs(seconds).try_into().ok());
    Command::Fail { claim: task.state.claim, error, retry_in }
}
