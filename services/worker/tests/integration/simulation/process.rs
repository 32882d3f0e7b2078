//! A simulated process.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_config::Config;
use miniapp_runtime::clock::Clock;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::{Retention, Runtime, Tasks};
use miniapp_worker::kinds::Kinds;
use miniapp_worker::{Dependencies, Isolation, WorkerConfig};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::simulation::kind::{Steps, Strides};
use crate::simulation::ports::{BrokerPort, StorePort};
use crate::simulation::world::{World, WorldClock};

const RETENTION: Retention =
    Retention { ended: SignedDuration::from_hours(24), removed: SignedDuration::from_hours(1) };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Api,
    Worker,
}

/// Controls a process. The world observes only its calls to the store and the broker: a
/// process is dead when none of them takes effect, and frozen while all of them wait.
pub struct ProcessHandle {
    pub world: Arc<World>,
    pub name: String,
    dead: CancellationToken,
    frozen_until: Mutex<Instant>,
    /// Notified when its connections to the broker break.
    pub cut: Notify,
    /// The tasks that hold its connections.
    parts: Mutex<Vec<AbortHandle>>,
}

impl ProcessHandle {
    /// Runs before and after each call: takes time, and may crash the process.
    pub async fn step(&self) {
        let world = &self.world;
        let time = match world.draw(0..100) {
            0 if world.fault(300) => world.draw_time(200..8000),
            0..10 => world.draw_time(5..100),
            _ => world.draw_time(0..3),
        };
        if !time.is_zero() {
            sleep(time).await;
        }
        let frozen_until = self.frozen_until();
        if frozen_until > Instant::now() {
            sleep_until(frozen_until).await;
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// Waits until the process has died.
    pub async fn died(&self) {
        self.dead.cancelled().await;
    }

    /// Crashes the process.
    pub fn kill(&self) {
        self.world.note(|| format!("{} dies", self.name));
        self.dead.cancel();
        // Its connections end with it.
        self.parts.lock().drain(..).for_each(|part| part.abort());
    }

    pub fn frozen_until(&self) -> Instant {
        *self.frozen_until.lock()
    }

    pub fn freeze(&self, time: Duration) {
        let mut frozen_until = self.frozen_until.lock();
        *frozen_until = frozen_until.max(Instant::now() + time);
    }
}

/// The clock of a process, with an offset.
#[derive(Debug)]
struct OwnClock {
    right: Arc<WorldClock>,
    off: SignedDuration,
}

impl Clock for OwnClock {
    fn now(&self) -> Timestamp {
        self.right.now().saturating_add(self.off).unwrap_or(Timestamp::MAX)
    }
}

/// A running process.
pub struct Process {
    pub role: Role,
    pub handle: Arc<ProcessHandle>,
    pub tasks: Tasks,
    shutdown: Shutdown,
    running: JoinHandle<()>,
}

impl Process {
    pub fn start(world: &Arc<World>, role: Role, place: usize) -> Self {
        let handle = Arc::new(ProcessHandle {
            world: world.clone(),
            name: format!("{role:?} {place}"),
            dead: CancellationToken::new(),
            frozen_until: Mutex::new(Instant::now()),
            cut: Notify::new(),
            parts: Mutex::default(),
        });
        world.note(|| format!("{} starts", handle.name));
        let broker = Arc::new(BrokerPort(handle.clone()));
        let store = Arc::new(StorePort(handle.clone()));
        let off = SignedDuration::from_millis(world.draw(-50..50));
        let clock = Arc::new(OwnClock { right: world.clock.clone(), off });
        let defaults = Config::defaults_in("/nowhere".as_ref()).expect("the defaults");
        let mut config: WorkerConfig = defaults.section().expect("a section");
        let lease = config.lease;
        let runtime = Runtime::new(store, clock.clone(), broker.clone(), RETENTION, lease);
        let tasks = runtime.tasks().clone();
        let (shutdown, drained) = (Shutdown::new(), Shutdown::new());
        let maintenance = tokio::spawn(runtime.run_until(drained.clone()));
        handle.parts.lock().push(maintenance.abort_handle());
        let main: JoinHandle<()> = match role {
            Role::Api => {
                let shutdown = shutdown.clone();
                tokio::spawn(async move { shutdown.begun().await })
            }
            Role::Worker => {
                config.concurrency = world.draw(1..4);
                config.grace = world.draw_time(1000..10_000);
                let mut kinds = Kinds::none();
                kinds.register(Steps(handle.clone()));
                // One worker runs all kinds.
                if place == 2 || world.draw(0..2) == 0 {
                    kinds.register(Strides(Steps(handle.clone())));
                }
                let dependencies = Dependencies {
                    tasks: tasks.clone(),
                    broker,
                    clock,
                    kinds: Arc::new(kinds),
                    isolation: Isolation::default(),
                    seed: world.draw(0..u64::MAX),
                };
                let shutdown = shutdown.clone();
                tokio::spawn(
                    async move { miniapp_worker::run(&config, dependencies, shutdown).await },
                )
            }
        };
        handle.parts.lock().push(main.abort_handle());
        let running = tokio::spawn(async move {
            // Tasks are aborted only when the process has died.
            let _ = main.await;
            drained.begin();
            let _ = maintenance.await;
        });
        Self { role, handle, tasks, shutdown, running }
    }

    /// Stops the process gracefully.
    pub async fn stop(self) {
        self.handle.world.note(|| format!("{} is stopped", self.handle.name));
        self.shutdown.begin();
        if let Err(panic) = self.running.await {
            self.handle.world.violation(format!("{} panicked: {panic}", self.handle.name));
        }
        self.handle.world.note(|| format!("{} has stopped", self.handle.name));
        // Calls that its batcher still holds are dropped.
        self.handle.dead.cancel();
    }
}
