//! The state machine under random sequences of commands, against an independent oracle.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use miniapp_tasks::domain::{
    Command, MAX_LOST_LEASES, POISON_AFTER, Refusal, SUSPECT_AFTER, Spec, State, TTL_EXCEEDED, Task,
};
use miniapp_types::task::{EventType, Status, TaskError};
use miniapp_types::trace::TraceContext;
use proptest::prelude::*;
use serde_json::value::RawValue;
use uuid::Uuid;

const LEASE: SignedDuration = SignedDuration::from_secs(15);

fn task(max_attempts: u32) -> Task {
    let spec = Spec {
        kind: "echo".into(),
        queue: miniapp_types::name::QueueName::default(),
        description: "a task".into(),
        data: RawValue::from_string("1".into()).expect("JSON"),
        ttl: 60,
        max_attempts,
        created_at: at(0),
        trace: TraceContext::default(),
    };
    Task::new(Uuid::from_u128(1), Uuid::from_u128(2), spec, None)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + second).expect("in range")
}

fn error() -> TaskError {
    TaskError { code: "broken".into(), message: "It broke".into() }
}

/// A command with current or stale tokens.
#[derive(Clone, Copy, Debug)]
enum Move {
    Claim { current: bool },
    Progress { current: bool },
    Finish { current: bool },
    Retry { current: bool },
    Fail { current: bool },
    ConfirmCancel { current: bool },
    ExceedTtl { current: bool },
    RequestStop { current: bool },
    Release { current: bool },
    ExpireLease,
    Cancel,
    Restart,
    Requeue,
    Delete,
}

fn moves() -> impl Strategy<Value = Move> {
    let current = prop::bool::weighted(0.8);
    prop_oneof![
        6 => current.prop_map(|current| Move::Claim { current }),
        1 => current.prop_map(|current| Move::Progress { current }),
        2 => current.prop_map(|current| Move::Finish { current }),
        3 => current.prop_map(|current| Move::Retry { current }),
        1 => current.prop_map(|current| Move::Fail { current }),
        1 => current.prop_map(|current| Move::ConfirmCancel { current }),
        1 => current.prop_map(|current| Move::ExceedTtl { current }),
        1 => current.prop_map(|current| Move::RequestStop { current }),
        2 => current.prop_map(|current| Move::Release { current }),
        2 => Just(Move::ExpireLease),
        2 => Just(Move::Cancel),
        2 => Just(Move::Restart),
        1 => Just(Move::Requeue),
        1 => Just(Move::Delete),
    ]
}

impl Move {
    fn command(self, state: &State) -> Command {
        let claim = |current| if current { state.claim } else { state.claim.wrapping_sub(1) };
        match self {
            Self::Claim { current } => Command::Claim {
                generation: state.generation,
                version: if current { state.version } else { state.version - 1 },
                worker: "w".into(),
                lease: LEASE,
                alone: true,
                runs: None,
            },
            Self::Progress { current } => {
                Command::Progress { claim: claim(current), progress: 0.5, message: None }
            }
            Self::Finish { current } => {
                let result = RawValue::from_string("2".into()).expect("JSON");
                Command::Finish { claim: claim(current), result: Arc::from(result) }
            }
            Self::Retry { current } => {
                let retry_in = Some(SignedDuration::from_secs(1));
                Command::Fail { claim: claim(current), error: error(), retry_in }
            }
            Self::Fail { current } => {
                Command::Fail { claim: claim(current), error: error(), retry_in: None }
            }
            Self::ConfirmCancel { current } => Command::ConfirmCancel { claim: claim(current) },
            Self::ExceedTtl { current } => Command::ExceedTtl { claim: claim(current) },
            Self::RequestStop { current } => {
                let grace = SignedDuration::from_secs(5);
                Command::RequestStop { claim: claim(current), grace }
            }
            Self::Release { current } => Command::Release { claim: claim(current) },
            Self::ExpireLease => Command::ExpireLease { version: state.version },
            Self::Cancel => Command::Cancel,
            Self::Restart => Command::Restart,
            Self::Requeue => Command::Requeue,
            Self::Delete => Command::Delete,
        }
    }

    /// Returns whether the move is legal, independently of the state machine.
    fn is_legal(self, state: &State) -> Result<(), Refusal> {
        if state.deleted {
            return Err(Refusal::Deleted);
        }
        let held = |current| current && state.status == Status::Executing;
        let legal = match self {
            Self::Claim { current } => current && state.status == Status::Awaiting,
            Self::Progress { current }
            | Self::Finish { current }
            | Self::Retry { current }
            | Self::Fail { current }
            | Self::ExceedTtl { current }
            | Self::RequestStop { current }
            | Self::Release { current } => held(current),
            Self::ConfirmCancel { current } => held(current) && state.cancel_requested,
            Self::ExpireLease => state.status == Status::Executing,
            Self::Cancel if state.status.is_terminal() => return Err(Refusal::AlreadyFinished),
            Self::Restart | Self::Requeue if !state.status.is_terminal() => {
                return Err(Refusal::NotFinished);
            }
            Self::Requeue if state.status != Status::Failed => return Err(Refusal::NotFailed),
            Self::Cancel | Self::Restart | Self::Requeue | Self::Delete => true,
        };
        if legal { Ok(()) } else { Err(Refusal::Stale) }
    }
}

/// Checks the invariants of every state.
fn check(state: &State, max_attempts: u32) {
    let executing = state.status == Status::Executing;
    assert_eq!(state.lease_until.is_some(), executing, "a lease while executing: {state:?}");
    assert_eq!(state.ready_at.is_some(), state.status == Status::Awaiting, "ready while awaiting");
    assert_eq!(state.finished_at.is_some(), state.status.is_terminal(), "an end when ended");
    assert!(executing || !state.cancel_requested, "a cancel is open only while executing");
    assert!((0.0..=1.0).contains(&state.progress));
    assert!(state.lost_leases <= MAX_LOST_LEASES);
    assert!(state.attempt <= max_attempts + state.lost_leases, "attempts are bounded: {state:?}");
    assert!(u64::from(state.attempt) <= state.claim, "every attempt was claimed");
    if state.status == Status::Finished {
        assert!(state.result.is_some() && state.error.is_none());
    }
    if state.status == Status::Failed {
        assert!(state.error.is_some());
    }
}

proptest! {
    #[test]
    fn every_legal_move_is_taken_and_every_illegal_one_refused(
        max_attempts in 1_u32..4,
        steps in prop::collection::vec((moves(), 0_i64..20), 1..60),
    ) {
        let mut task = task(max_attempts);
        let mut second = 0;
        for (step, wait) in steps {
            second += wait;
            let now = at(second);
            let before = task.state.clone();
            let outcome = task.apply(step.command(&before), now);
            prop_assert_eq!(outcome.as_ref().map(|_| ()).map_err(|refusal| *refusal), step.is_legal(&before));
            let Ok(step) = outcome else { continue };
            let after = step.state;
            check(&after, max_attempts);
            prop_assert!(after.claim >= before.claim, "the fencing token only grows");
            prop_assert!(after.generation >= before.generation);
            let changes = u64::from(step.event.is_some());
            prop_assert_eq!(after.version, before.version + changes, "a version a change");
            if step.event == Some(EventType::Started) {
                prop_assert_eq!(after.claim, before.claim + 1);
            }
            if before.status.is_terminal() && !after.deleted {
                prop_assert_eq!(step.event, Some(EventType::Restarted), "an end is final but for a restart");
            }
            task.state = after;
        }
    }
}

/// Claims `task` and returns the token.
fn claimed(task: &mut Task) -> u64 {
    let state = &task.state;
    let (generation, version) = (state.generation, state.version);
    let alone = state.isolation().is_some();
    let claim =
        Command::Claim { generation, version, worker: "w".into(), lease: LEASE, alone, runs: None };
    task.state = task.apply(claim, at(0)).expect("claimable").state;
    task.state.claim
}

/// Claims `task` and loses the lease after it was renewed until the time `until`.
fn lose(task: &mut Task, until: Timestamp) {
    claimed(task);
    task.state.lease_until = Some(until);
    let version = task.state.version;
    task.state = task.apply(Command::ExpireLease { version }, until).expect("expired").state;
}

#[test]
fn failed_attempts_are_retried_up_to_the_maximum() {
    let mut task = task(2);
    let retry_in = Some(SignedDuration::from_secs(3));
    let claim = claimed(&mut task);
    let fail = Command::Fail { claim, error: error(), retry_in };
    let step = task.apply(fail, at(1)).expect("a held claim");
    assert_eq!((step.event, step.state.status), (Some(EventType::Retrying), Status::Awaiting));
    assert_eq!((step.state.ready_at, step.state.run_at), (Some(at(4)), Some(at(4))));
    task.state = step.state;
    let claim = claimed(&mut task);
    let step =
        task.apply(Command::Fail { claim, error: error(), retry_in }, at(9)).expect("a held claim");
    assert_eq!((step.state.status, step.state.attempt), (Status::Failed, 2));
}

#[test]
fn task_that_kills_its_worker_each_time_fails_at_the_sixth() {
    let mut task = task(1);
    for lost in 1..=POISON_AFTER {
        lose(&mut task, at(16));
        let is_poison = lost == POISON_AFTER;
        let expected = if is_poison { Status::Failed } else { Status::Awaiting };
        assert_eq!((task.state.status, task.state.lost_leases), (expected, lost));
    }
    assert_eq!(task.state.error.expect("an error").code, "lease_lost");
}

#[test]
fn suspect_is_claimed_only_alone() {
    let mut task = task(1);
    let claim = |task: &Task, alone| {
        let (generation, version) = (task.state.generation, task.state.version);
        let worker = "w".into();
        task.apply(
            Command::Claim { generation, version, worker, lease: LEASE, alone, runs: None },
            at(0),
        )
    };
    for _ in 0..SUSPECT_AFTER {
        assert_eq!(claim(&task, false).map(|_| ()), Ok(()));
        lose(&mut task, at(16));
    }
    assert_eq!(claim(&task, false).map(|_| ()), Err(Refusal::RunsAlone));
    assert_eq!(claim(&task, true).map(|_| ()), Ok(()));
    // A new generation is no suspect.
    task.state = task.apply(Command::Cancel, at(20)).expect("waiting").state;
    task.state = task.apply(Command::Restart, at(20)).expect("ended").state;
    assert_eq!(claim(&task, false).map(|_| ()), Ok(()));
}

/// Losses long after the start prove nothing, because others ran beside the task by then. The
/// time alone grows until it covers whole attempts.
#[test]
fn task_that_lives_long_is_not_failed_by_losses_beside_others() {
    let mut task = task(1);
    for _ in 1..=POISON_AFTER {
        lose(&mut task, at(20 * 3600));
        assert_eq!(task.state.status, Status::Awaiting);
    }
    lose(&mut task, at(20 * 3600));
    assert_eq!((task.state.status, task.state.lost_leases), (Status::Failed, MAX_LOST_LEASES));
}

#[test]
fn renewed_lease_does_not_expire() {
    let mut task = task(1);
    claimed(&mut task);
    let version = task.state.version;
    task.state.version += 1;
    let expired = task.apply(Command::ExpireLease { version }, at(100));
    assert_eq!(expired.map(|_| ()), Err(Refusal::Stale));
}

#[test]
fn released_attempt_is_not_counted() {
    let mut task = task(1);
    let claim = claimed(&mut task);
    let step = task.apply(Command::Release { claim }, at(1)).expect("a held claim");
    assert_eq!((step.state.status, step.state.attempt), (Status::Awaiting, 0));
}

#[test]
fn cancel_takes_precedence_over_retry_but_not_over_result() {
    let mut task = task(3);
    let claim = claimed(&mut task);
    task.state = task.apply(Command::Cancel, at(1)).expect("running").state;
    let retry_in = Some(SignedDuration::from_secs(1));
    let failed = task.apply(Command::Fail { claim, error: error(), retry_in }, at(2));
    assert_eq!(failed.expect("a held claim").state.status, Status::Canceled);
    let result = Arc::from(RawValue::from_string("2".into()).expect("JSON"));
    let finished = task.apply(Command::Finish { claim, result }, at(2));
    assert_eq!(finished.expect("a held claim").state.status, Status::Finished);
}

#[test]
fn ttl_has_its_own_message() {
    let mut task = task(3);
    let claim = claimed(&mut task);
    let step = task.apply(Command::ExceedTtl { claim }, at(61)).expect("a held claim");
    assert_eq!(step.state.message.as_deref(), Some(TTL_EXCEEDED));
    assert_eq!(step.state.status, Status::Canceled);
}

#[test]
fn restart_resets_the_state_but_not_the_token() {
    let mut task = task(3);
    let claim = claimed(&mut task);
    task.state = task
        .apply(Command::Fail { claim, error: error(), retry_in: None }, at(1))
        .expect("a held claim")
        .state;
    let state = task.apply(Command::Restart, at(2)).expect("ended").state;
    assert_eq!((state.generation, state.attempt, state.claim), (2, 0, 1));
    assert!(state.error.is_none() && state.finished_at.is_none() && state.worker.is_none());
    assert_eq!(state.ready_at, Some(at(2)));
}

#[test]
fn slow_clock_does_not_reorder_events() {
    let mut task = task(3);
    let claim = claimed(&mut task);
    let fast = at(10);
    let progress = Command::Progress { claim, progress: 0.5, message: None };
    let step = task.apply(progress.clone(), fast).expect("a held claim");
    assert_eq!((step.at, step.state.changed_at), (fast, fast));
    task.state = step.state;
    let step = task.apply(progress.clone(), at(6)).expect("a held claim");
    assert!(step.at > fast && step.state.changed_at == step.at, "{step:?}");
    // A clock that was corrected is followed.
    let step = task.apply(progress, at(1)).expect("a held claim");
    assert_eq!(step.at, at(1));
}
