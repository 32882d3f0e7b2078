//! The simulated world of a run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_broker::{Broker, MemoryBroker, Queue};
use miniapp_runtime::clock::Clock;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_test_support::{MemoryStore, Row};
use miniapp_types::task::EventType;
use parking_lot::Mutex;
use rand::distr::uniform::{SampleRange, SampleUniform};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::simulation::invariants::Invariants;
use crate::simulation::process::{Process, Role};
use crate::simulation::{chaos, clients};

/// The duration of the phase with faults.
const FAULT_PHASE: Duration = Duration::from_secs(20);
/// The maximum duration of a step that started in the fault phase.
const RECOVERY_PHASE: Duration = Duration::from_secs(20);
/// The time after which every task must have ended.
const COMPLETION_TIMEOUT: Duration = Duration::from_mins(30);
pub const ROLES: [Role; 5] = [Role::Api, Role::Api, Role::Worker, Role::Worker, Role::Worker];

/// The result of simulating a seed.
pub struct Run {
    /// The violated invariant.
    pub broken: Option<String>,
    /// The number of calls to the store and the broker.
    pub steps: u64,
    /// The log.
    pub lines: Vec<String>,
    /// Counts of task events.
    pub events: BTreeMap<&'static str, u64>,
    /// Snapshots of the store in the middle and at the end.
    pub stored: Vec<Stored>,
}

/// A snapshot of the store.
pub struct Stored {
    pub at: Timestamp,
    pub rows: Vec<Row>,
}

/// The state shared by all processes.
pub struct World {
    pub store: MemoryStore,
    pub broker: Arc<MemoryBroker>,
    pub clock: Arc<WorldClock>,
    pub invariants: Invariants,
    /// Begins when the fault phase ends.
    pub calm: Shutdown,
    /// Indexed like [`ROLES`]; `None` while a process is not running.
    pub processes: Mutex<Vec<Option<Process>>>,
    /// The store is unavailable until then.
    pub store_away_until: Mutex<Instant>,
    dice: Mutex<Xoshiro256PlusPlus>,
    steps: Mutex<u64>,
    names: Mutex<HashMap<Uuid, usize>>,
    lines: Mutex<Vec<String>>,
    events: Mutex<BTreeMap<&'static str, u64>>,
    broken: Mutex<Option<String>>,
    began: Instant,
}

impl World {
    /// Simulates a complete run.
    pub async fn simulate(seed: u64) -> Run {
        let began = Instant::now();
        let world = Arc::new(Self {
            store: MemoryStore::default(),
            broker: Arc::new(MemoryBroker::new()),
            clock: Arc::new(WorldClock { began, jumped: AtomicI64::new(0) }),
            invariants: Invariants::default(),
            calm: Shutdown::new(),
            processes: Mutex::default(),
            store_away_until: Mutex::new(began),
            dice: Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
            steps: Mutex::default(),
            names: Mutex::default(),
            lines: Mutex::default(),
            events: Mutex::default(),
            broken: Mutex::default(),
            began,
        });
        for (place, role) in (0..).zip(ROLES) {
            let process = Process::start(&world, role, place);
            world.processes.lock().push(Some(process));
        }
        let mut others = JoinSet::new();
        for number in 0..3 {
            others.spawn(clients::run(world.clone(), number));
        }
        others.spawn(chaos::run(world.clone()));
        let manager = tokio::spawn(chaos::replace_killed(world.clone()));
        sleep(FAULT_PHASE).await;
        let mut stored = vec![world.stored()];
        world.calm.begin();
        while let Some(ended) = others.join_next().await {
            ended.expect("no panic of the world");
        }
        world.recover().await;
        manager.abort();
        stored.push(world.stored());
        Run {
            stored,
            broken: world.broken.lock().take(),
            steps: *world.steps.lock(),
            lines: std::mem::take(&mut *world.lines.lock()),
            events: std::mem::take(&mut *world.events.lock()),
        }
    }

    fn stored(&self) -> Stored {
        // A jump of the clock makes leases look old that nobody could have reaped yet.
        Stored { at: self.clock.without_jumps(), rows: self.store.rows() }
    }

    /// Waits for all tasks to end, and checks the final state.
    async fn recover(self: &Arc<Self>) {
        self.note(|| "calm".into());
        *self.store_away_until.lock() = Instant::now();
        self.broker.resume();
        for (place, role) in (0..).zip(ROLES) {
            if self.processes.lock()[place].is_none() {
                let process = Process::start(self, role, place);
                self.processes.lock()[place] = Some(process);
            }
        }
        // Calls of a frozen process continue when it thaws.
        let frozen = |process: &Process| process.handle.frozen_until();
        let thawed = self.processes.lock().iter().flatten().map(frozen).max();
        sleep_until(thawed.unwrap_or(self.began).max(Instant::now()) + RECOVERY_PHASE).await;
        let limit = Instant::now() + COMPLETION_TIMEOUT;
        while !self.is_over().await {
            if self.is_broken() {
                return;
            }
            if Instant::now() > limit {
                let open: Vec<_> = self
                    .store
                    .rows()
                    .into_iter()
                    .filter(|row| !row.task.state.status.is_terminal())
                    .collect();
                return self.violation(format!("it doesn't end: {open:#?}"));
            }
            sleep(Duration::from_millis(500)).await;
        }
        let processes = std::mem::take(&mut *self.processes.lock());
        for process in processes.into_iter().flatten() {
            process.stop().await;
        }
        if let Err(broken) = self.invariants.check_end(&self.store.rows()) {
            self.violation(broken);
        }
    }

    /// Whether every task has ended and no work is left.
    async fn is_over(&self) -> bool {
        let has_ended = self.store.rows().iter().all(|row| row.task.state.status.is_terminal());
        let depth = self.broker.depth(Queue::Tasks).await.unwrap_or(1);
        has_ended && depth == 0 && self.invariants.running() == 0
    }

    /// Returns a random number.
    pub fn draw<T: SampleUniform>(&self, range: impl SampleRange<T>) -> T {
        self.dice.lock().random_range(range)
    }

    /// Whether a fault of this probability occurs. Never after the fault phase.
    pub fn fault(&self, per_mille: u32) -> bool {
        !self.calm.has_begun() && self.draw(0..1000) < per_mille
    }

    /// Returns a random duration.
    pub fn draw_time(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.draw(range))
    }

    /// Counts a step.
    pub fn step(&self) {
        *self.steps.lock() += 1;
    }

    /// Counts an event.
    pub fn happened(&self, event: EventType) {
        *self.events.lock().entry(event.into()).or_default() += 1;
    }

    /// Adds a line to the log.
    pub fn note(&self, what: impl FnOnce() -> String) {
        let at = self.began.elapsed().as_secs_f64();
        self.lines.lock().push(format!("{at:8.3} {}", what()));
    }

    /// Returns a stable name for a task, because ids differ between runs.
    pub fn name(&self, id: Uuid) -> String {
        let mut names = self.names.lock();
        let next = names.len() + 1;
        format!("task {}", names.entry(id).or_insert(next))
    }

    /// Records a violated invariant. The first one is kept.
    pub fn violation(&self, how: String) {
        self.note(|| format!("BROKEN: {how}"));
        self.broken.lock().get_or_insert(how);
    }

    pub fn is_broken(&self) -> bool {
        self.broken.lock().is_some()
    }
}

/// The reference clock; processes have an offset to it.
#[derive(Debug)]
pub struct WorldClock {
    began: Instant,
    /// Microseconds.
    jumped: AtomicI64,
}

impl WorldClock {
    /// Moves the clock forward or backward.
    pub fn jump(&self, by: SignedDuration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(0);
        self.jumped.fetch_add(by, Ordering::Relaxed);
    }

    fn without_jumps(&self) -> Timestamp {
        self.at(0)
    }

    fn at(&self, jumped: i64) -> Timestamp {
        const START: i64 = 1_893_456_000_000_000;
        let elapsed = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(0);
        Timestamp::from_microsecond(START + elapsed + jumped).unwrap_or(Timestamp::MAX)
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        self.at(self.jumped.load(Ordering::Relaxed))
    }
}
