//! What a story plays in.

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

use crate::simulation::process::{Process, Role};
use crate::simulation::rules::Rules;
use crate::simulation::{chaos, clients};

/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(20);
/// How long a step that began in trouble may take.
const SETTLING: Duration = Duration::from_secs(20);
/// How long after that everything has to have come to its end.
const PATIENCE: Duration = Duration::from_mins(30);
/// Who plays.
const ROLES: [Role; 5] = [Role::Api, Role::Api, Role::Worker, Role::Worker, Role::Worker];

/// What became of a seed.
pub struct Story {
    /// The rule that was broken, and how.
    pub broken: Option<String>,
    /// How often somebody asked the store or the broker for something.
    pub steps: u64,
    /// What happened.
    pub lines: Vec<String>,
    /// How often tasks saw which event.
    pub events: BTreeMap<&'static str, u64>,
    /// What was stored in the middle of it, and at its end.
    pub stored: Vec<Stored>,
}

/// What was stored at a time.
pub struct Stored {
    pub at: Timestamp,
    pub rows: Vec<Row>,
}

/// Shared by all that is in it.
pub struct World {
    pub store: MemoryStore,
    pub broker: Arc<MemoryBroker>,
    pub clock: Arc<WorldClock>,
    pub rules: Rules,
    /// Begun when nothing goes wrong any more.
    pub calm: Shutdown,
    /// By place, as in [`ROLES`]; `None` where a process isn't running.
    pub processes: Mutex<Vec<Option<Process>>>,
    /// The store answers nobody until then.
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
    /// Plays a story to its end.
    pub async fn play(seed: u64) -> Story {
        let began = Instant::now();
        let world = Arc::new(Self {
            store: MemoryStore::default(),
            broker: Arc::new(MemoryBroker::new()),
            clock: Arc::new(WorldClock { began, jumped: AtomicI64::new(0) }),
            rules: Rules::default(),
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
        sleep(TROUBLE).await;
        let mut stored = vec![world.stored()];
        world.calm.begin();
        while let Some(ended) = others.join_next().await {
            ended.expect("no panic of the world");
        }
        world.calm_down().await;
        stored.push(world.stored());
        Story {
            stored,
            broken: world.broken.lock().take(),
            steps: *world.steps.lock(),
            lines: std::mem::take(&mut *world.lines.lock()),
            events: std::mem::take(&mut *world.events.lock()),
        }
    }

    fn stored(&self) -> Stored {
        Stored { at: self.clock.now(), rows: self.store.rows() }
    }

    /// Lets everything come to its end, and looks at what is left.
    async fn calm_down(self: &Arc<Self>) {
        self.note(|| "calm".into());
        *self.store_away_until.lock() = Instant::now();
        self.broker.resume();
        for (place, role) in (0..).zip(ROLES) {
            if self.processes.lock()[place].is_none() {
                let process = Process::start(self, role, place);
                self.processes.lock()[place] = Some(process);
            }
        }
        // What was asked of a frozen process is done when it thaws.
        let frozen = |process: &Process| process.life.frozen_until();
        let thawed = self.processes.lock().iter().flatten().map(frozen).max();
        sleep_until(thawed.unwrap_or(self.began).max(Instant::now()) + SETTLING).await;
        let limit = Instant::now() + PATIENCE;
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
                return self.breaks(format!("it doesn't end: {open:#?}"));
            }
            sleep(Duration::from_millis(500)).await;
        }
        let processes = std::mem::take(&mut *self.processes.lock());
        for process in processes.into_iter().flatten() {
            process.stop().await;
        }
        if let Err(broken) = self.rules.check_end(&self.store.rows()) {
            self.breaks(broken);
        }
    }

    /// Whether every task has ended and nobody has anything left to do.
    async fn is_over(&self) -> bool {
        let has_ended = self.store.rows().iter().all(|row| row.task.state.status.is_terminal());
        let depth = self.broker.depth(Queue::Tasks).await.unwrap_or(1);
        has_ended && depth == 0 && self.rules.running() == 0
    }

    /// Draws a number.
    pub fn draw<T: SampleUniform>(&self, range: impl SampleRange<T>) -> T {
        self.dice.lock().random_range(range)
    }

    /// Whether something happens that happens `per_mille` times in a thousand, as long as
    /// anything can go wrong.
    pub fn strikes(&self, per_mille: u32) -> bool {
        !self.calm.has_begun() && self.draw(0..1000) < per_mille
    }

    /// Time that something takes.
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

    /// Notes what happened.
    pub fn note(&self, what: impl FnOnce() -> String) {
        let at = self.began.elapsed().as_secs_f64();
        self.lines.lock().push(format!("{at:8.3} {}", what()));
    }

    /// The name of a task in notes: ids differ each time.
    pub fn name(&self, id: Uuid) -> String {
        let mut names = self.names.lock();
        let next = names.len() + 1;
        format!("task {}", names.entry(id).or_insert(next))
    }

    /// A rule is broken. The first one counts.
    pub fn breaks(&self, how: String) {
        self.note(|| format!("BROKEN: {how}"));
        self.broken.lock().get_or_insert(how);
    }

    pub fn is_broken(&self) -> bool {
        self.broken.lock().is_some()
    }
}

/// The clock that everybody goes by, more or less.
#[derive(Debug)]
pub struct WorldClock {
    began: Instant,
    /// Microseconds.
    jumped: AtomicI64,
}

impl WorldClock {
    /// It is later or earlier all of a sudden.
    pub fn jump(&self, by: SignedDuration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(0);
        self.jumped.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        const START: i64 = 1_893_456_000_000_000;
        let elapsed = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(0);
        let now = START + elapsed + self.jumped.load(Ordering::Relaxed);
        Timestamp::from_microsecond(now).unwrap_or(Timestamp::MAX)
    }
}
