//! Outcomes of the tasks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::SignedDuration;
use miniapp_config::{Database, Synchronous};
use miniapp_tasks::Task;
use miniapp_tasks::domain::TTL_EXCEEDED;
use miniapp_test_support::{timeline_checks, timelines};
use miniapp_types::task::{Event, EventType, Status};
use uuid::Uuid;

use crate::environment::Environment;
use crate::load::Submission;

/// The number of timelines that are read concurrently.
const READS: usize = 8;
/// The tolerated error of the processes' clocks when the connection to the database is slow.
const OFF: SignedDuration = SignedDuration::from_secs(1);

/// Every task in the store, with its timeline.
pub struct Stored(pub HashMap<Uuid, (Task, Vec<Event>)>);

/// Counts for the report.
#[derive(Default)]
pub struct Counts {
    pub attempts: usize,
    pub lost: usize,
    pub released: usize,
    pub retried: usize,
    pub ends: HashMap<Status, usize>,
    /// The longest time from acceptance or restart to the outcome, with its timeline.
    pub longest: (Duration, String),
    /// Submissions that were repeated after a timeout.
    pub repeated: u32,
    /// Submissions that arrived after their client had deleted the task.
    pub ghosts: usize,
}

impl Stored {
    /// Reads all tasks.
    pub async fn read(environment: &Environment) -> Result<Self> {
        let settings = Database {
            url: environment.database.clone(),
            pooler: None,
            synchronous: Synchronous::Full,
            connections: u32::try_from(READS)?,
        };
        let engine = miniapp_tasks::open_engine(&settings).await?;
        let (_, name) = environment.database.rest().rsplit_once('/').context("a database")?;
        let mut connection = environment.postgres.lock().await.connect(name).await?;
        let ids: Vec<Uuid> =
            sqlx::query_scalar("SELECT id FROM tasks").fetch_all(&mut connection).await?;
        let mut tasks = Vec::with_capacity(ids.len());
        for some in ids.chunks(500) {
            tasks.extend(engine.load(some).await?);
        }
        let stored = stream::iter(tasks).map(async |task| {
            let timeline = timelines::stored(&*engine, task.id).await?.context("a timeline")?;
            anyhow::Ok((task.id, (task, timeline)))
        });
        Ok(Self(stored.buffer_unordered(READS).try_collect().await?))
    }
}

/// Checks the tasks against the records of the clients.
pub fn check(environment: &Environment, submissions: &[Submission], stored: &Stored) -> Counts {
    let mut counts = Counts::default();
    let mut known: HashSet<&Uuid> = HashSet::new();
    for submission in submissions {
        counts.repeated += submission.tries - 1;
        known.extend(&submission.ids);
        let is_one = submission.ids.len() == 1;
        environment
            .findings
            .check(is_one, "a key stands for one task", || format!("{submission:?}"));
        for id in &submission.ids {
            match stored.0.get(id) {
                None => {
                    environment.findings.add("no accepted task is lost", format!("{submission:?}"));
                }
                Some((task, timeline)) => {
                    for broken in violated_rules(submission, task, timeline) {
                        let events: Vec<_> = timeline.iter().map(|event| event.kind).collect();
                        let state = &task.state;
                        let how = format!("{submission:?}: {events:?}, {state:?}");
                        environment.findings.add(broken, how);
                    }
                    counts.add(task, timeline);
                }
            }
        }
    }
    for (id, (task, _)) in &stored.0 {
        if known.contains(id) {
            continue;
        }
        // A duplicate submission may arrive after its client has deleted the task and with it the
        // idempotency key.
        let of = submissions.iter().find(|one| one.name == task.spec.description);
        let is_ghost = of.is_some_and(|one| one.deletes.sent > 0 && one.tries > 1);
        counts.ghosts += usize::from(is_ghost);
        environment.findings.check(is_ghost, "every stored task was accepted", || {
            format!("{} as {of:?}: {:?}", task.spec.description, task.state)
        });
    }
    counts
}

/// The rules that a task violates.
fn violated_rules(submission: &Submission, task: &Task, timeline: &[Event]) -> Vec<&'static str> {
    let Submission { request, cancels, restarts, deletes, .. } = submission;
    let state = &task.state;
    let count = |kind| timeline.iter().filter(|event| event.kind == kind).count();
    let renewals = state.version.saturating_sub(timeline.len() as u64);
    let is_canceled = count(EventType::CancelRequested) > 0
        || timeline.iter().any(|event| {
            event.kind == EventType::Canceled && event.message.as_deref() != Some(TTL_EXCEEDED)
        });
    // A restart ignores the `runAt` of the first generation.
    let mut first = timeline.iter().take_while(|event| event.kind != EventType::Restarted);
    let started = first.find(|event| event.kind == EventType::Started);
    let is_in_time = |at| started.is_none_or(|started| started.at + OFF >= at);
    let generations = 1 + restarts.confirmed..=1 + restarts.sent;
    let rules = [
        (task.owner == submission.owner, "a task belongs to its client"),
        (timeline_checks::find_fault(task, timeline, renewals).is_ok(), "a timeline is valid"),
        (ends(timeline) == state.generation as usize, "a generation has one outcome"),
        (state.status.is_terminal(), "every accepted task ends, and no lease is left"),
        (!state.deleted || deletes.sent > 0, "only its owner deletes a task"),
        (state.deleted || deletes.confirmed == 0, "a deleted task is gone"),
        (generations.contains(&state.generation), "a restart creates one generation"),
        (!is_canceled || cancels.sent > 0, "only its owner cancels a task"),
        (request.run_at.is_none_or(is_in_time), "no task starts before its time"),
        (
            !submission.has_no_changes() || request.may_end_as(task),
            "a task has an outcome that its work allows",
        ),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
}

/// The number of outcomes in a timeline: ends, and the deletion of an unfinished task.
fn ends(timeline: &[Event]) -> usize {
    let mut open = true;
    let mut ends = 0;
    for event in timeline {
        match event.kind {
            EventType::Finished | EventType::Failed | EventType::Canceled => {
                ends += 1;
                open = false;
            }
            EventType::Deleted if open => ends += 1,
            EventType::Restarted => open = true,
            _ => {}
        }
    }
    ends
}

impl Counts {
    fn add(&mut self, task: &Task, timeline: &[Event]) {
        let mut since = task.spec.created_at;
        for event in timeline {
            match event.kind {
                EventType::Started => self.attempts += 1,
                EventType::LeaseLost => self.lost += 1,
                EventType::Released => self.released += 1,
                EventType::Retrying => self.retried += 1,
                EventType::Restarted => since = event.at,
                EventType::Finished | EventType::Failed | EventType::Canceled => {
                    let took = event.at.duration_since(since);
                    let took = Duration::try_from(took).unwrap_or_default();
                    if took > self.longest.0 {
                        self.longest = (took, format_timeline(task, timeline));
                    }
                }
                _ => {}
            }
        }
        *self.ends.entry(task.state.status).or_default() += 1;
    }
}

/// A timeline in one line: event types with their times in seconds.
fn format_timeline(task: &Task, timeline: &[Event]) -> String {
    let events = timeline.iter().map(|event| {
        let after = event.at.duration_since(task.spec.created_at).as_secs_f64();
        format!("{} {after:.1}", event.kind)
    });
    let events: Vec<String> = events.collect();
    format!("{}, {}: {}", task.id, task.spec.description, events.join(", "))
}
