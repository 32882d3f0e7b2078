//! The invariants, stated independently of the implementation.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_tasks::Task;
use miniapp_test_support::{Row, timeline_checks};
use miniapp_types::task::{EventType, Status};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::simulation::kind::{End, Plan};
use crate::simulation::process::ProcessHandle;

/// The maximum clock offset, including all backward jumps.
const MAX_CLOCK_OFFSET: SignedDuration = SignedDuration::from_millis(2500);

/// Accepted tasks and running attempts.
#[derive(Default)]
pub struct Invariants {
    accepted: Mutex<HashSet<Uuid>>,
    /// The tasks returned for each idempotency key.
    keyed: Mutex<BTreeMap<String, HashSet<Uuid>>>,
    /// Every attempt that was ever started.
    begun: Mutex<HashSet<String>>,
    /// The attempts that ran the steps, by the keys of the steps.
    steps: Mutex<HashMap<String, String>>,
    /// Running attempts by their ids.
    running: Arc<Mutex<HashMap<String, Attempt>>>,
}

struct Attempt {
    process: Weak<ProcessHandle>,
    /// It has to be alone in its process until then.
    alone_until: Option<Instant>,
}

impl Attempt {
    fn lives(&self) -> bool {
        self.process.upgrade().is_some_and(|process| !process.is_dead())
    }
}

/// A running attempt. Dropping it ends the attempt.
pub struct Running {
    id: String,
    all: Arc<Mutex<HashMap<String, Attempt>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

impl Invariants {
    /// Records that a task was accepted.
    pub fn accept(&self, task: &Task, key: Option<&str>) {
        self.accepted.lock().insert(task.id);
        if let Some(key) = key {
            self.keyed.lock().entry(key.to_owned()).or_default().insert(task.id);
        }
    }

    /// Records the start of an attempt. Fails if it was started before, or if it or an attempt
    /// beside it has to be alone in the process.
    pub fn begin(
        &self,
        process: &Arc<ProcessHandle>,
        id: &str,
        lost_leases: u32,
    ) -> Result<Running, String> {
        if !self.begun.lock().insert(id.to_owned()) {
            return Err(format!("the attempt {id} began twice"));
        }
        // Stated here again, independently of the state machine.
        let minutes = match lost_leases {
            0..=2 => None,
            3 => Some(1),
            4 => Some(10),
            5 => Some(100),
            _ => Some(60 * 25),
        };
        let now = Instant::now();
        let alone_until = minutes.map(|minutes| now + Duration::from_mins(minutes));
        let mut running = self.running.lock();
        let beside = running.iter().find(|(_, other)| {
            let is_beside = other.process.ptr_eq(&Arc::downgrade(process));
            is_beside && (alone_until.is_some() || other.alone_until.is_some_and(|end| end > now))
        });
        if let Some((other, _)) = beside {
            return Err(format!("{id} ({lost_leases} lost leases) began beside {other}"));
        }
        running.insert(id.to_owned(), Attempt { process: Arc::downgrade(process), alone_until });
        Ok(Running { id: id.to_owned(), all: self.running.clone() })
    }

    /// Records that a step of a generation is remembered. Fails if another attempt had run it.
    pub fn remember(&self, key: &str, attempt: &str) -> Result<(), String> {
        let mut steps = self.steps.lock();
        let first = steps.entry(key.to_owned()).or_insert_with(|| attempt.to_owned());
        if first == attempt {
            return Ok(());
        }
        Err(format!("{key} was run by {first} and again by {attempt}"))
    }

    /// Returns the number of attempts in live processes.
    pub fn running(&self) -> usize {
        self.running.lock().values().filter(|attempt| attempt.lives()).count()
    }

    /// Checks the final state.
    pub fn check_end(&self, rows: &[Row]) -> Result<(), String> {
        let kept: HashSet<Uuid> = rows.iter().map(|row| row.task.id).collect();
        let lost: Vec<Uuid> = self.accepted.lock().difference(&kept).copied().collect();
        if !lost.is_empty() {
            return Err(format!("accepted tasks are lost: {lost:?}"));
        }
        for (key, tasks) in self.keyed.lock().iter() {
            if tasks.len() != 1 {
                return Err(format!("{key} made {} tasks", tasks.len()));
            }
        }
        for row in rows {
            if !row.task.state.status.is_terminal() {
                return Err(format!("it hasn't ended: {row:#?}"));
            }
            let error = row.task.state.error.as_ref().map(|error| error.code.as_str());
            let is_condemned =
                row.task.state.status == Status::Failed && error == Some("lease_lost");
            let plan: Plan = serde_json::from_str(row.task.spec.data.get()).expect("a plan");
            if is_condemned && plan.end != End::Kill {
                return Err(format!("an innocent task failed: {row:#?}"));
            }
            if plan.end == End::Kill && row.task.state.status == Status::Finished {
                return Err(format!("a task that kills its process finished: {row:#?}"));
            }
        }
        if self.running() > 0 {
            return Err(format!("code runs on: {:?}", self.running.lock().keys()));
        }
        Ok(())
    }
}

/// Checks a task after each write.
pub fn check_write(before: Option<&Row>, after: &Row) -> Result<(), String> {
    let Row { task, events, renewals, due_at, dispatched_at } = after;
    let state = &task.state;
    let holds = |holds: bool, rule: &str| {
        if holds { Ok(()) } else { Err(format!("{rule}: {after:#?}\nbefore: {before:#?}")) }
    };
    if let Err(fault) = timeline_checks::find_fault(task, events, *renewals) {
        return holds(false, &format!("a timeline tells a legal process, but {fault}"));
    }
    let awaits = state.status == Status::Awaiting;
    let executes = state.status == Status::Executing;
    let has_duty = due_at.is_some() || dispatched_at.is_some();
    holds(!awaits || has_duty, "a waiting task has a duty or a message")?;
    holds(awaits || due_at.is_none(), "only a waiting task has a duty")?;
    holds(executes == state.lease_until.is_some(), "who executes has a lease")?;
    let most = task.spec.max_attempts + state.lost_leases;
    holds(state.attempt <= most, "attempts are bounded")?;
    holds(state.lost_leases <= 7, "the deaths that a task causes are bounded")?;
    let winner = format!("\"{}-{}\"", task.id, state.claim);
    let result = state.result.as_ref().map(|result| result.get());
    let is_winners = state.status != Status::Finished || result == Some(&winner);
    holds(is_winners, "the result is of the claim that holds the task")?;
    let Some(before) = before else {
        return holds(state.version == 1 && awaits, "a task begins by waiting");
    };
    let old = &before.task.state;
    holds(state.version > old.version, "each change has a version")?;
    holds(state.claim >= old.claim, "the fencing token only grows")?;
    holds(state.generation >= old.generation, "the generation only grows")?;
    holds(events.starts_with(&before.events), "the past stays as it was")?;
    let started =
        events[before.events.len()..].iter().find(|event| event.kind == EventType::Started);
    let is_time =
        |at: Timestamp| old.ready_at.is_none_or(|ready_at| at + MAX_CLOCK_OFFSET >= ready_at);
    holds(started.is_none_or(|started| is_time(started.at)), "nothing starts before its time")?;
    let same_life = state.generation == old.generation && !state.deleted;
    let stays = !old.status.is_terminal() || !same_life || state.status == old.status;
    holds(stays, "an outcome is final")
}
