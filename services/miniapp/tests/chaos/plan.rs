//! The faults of a seed and their times.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use miniapp_test_support::proxy::Direction;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};

use crate::topology::{APIS, Link, WORKERS, Who};

/// The maximum number of concurrent faults, so that some tasks always progress.
const AT_ONCE: usize = 4;
/// Milliseconds between one fault and the next.
const PAUSE: Range<u64> = 200..1800;
/// How long a stopped process or server may take to recover.
const RECOVERY: Duration = Duration::from_secs(3);

/// The faults.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// By SIGKILL.
    Kill(Who),
    /// By SIGTERM.
    Stop(Who),
    /// By SIGSTOP.
    Freeze(Who),
    StopRabbit,
    KillRabbit,
    FreezeRabbit,
    CloseConnections,
    RestartPostgres,
    /// By up to this number of milliseconds per chunk.
    Delay(Link, u64),
    Stall(Link, Direction),
    Cut(Link),
    Lose(Link),
}

/// A scheduled fault.
#[derive(Clone, Copy, Debug)]
pub struct PlannedFault {
    /// The time since the start of the test.
    pub at: Duration,
    pub fault: Fault,
    /// The duration, or none for an instantaneous fault.
    pub lasts: Duration,
}

/// A kind of fault, before its target is chosen.
#[derive(Clone, Copy)]
enum Card {
    KillWorker,
    StopWorker,
    FreezeWorker,
    KillApi,
    StopApi,
    FreezeApi,
    StopRabbit,
    KillRabbit,
    FreezeRabbit,
    CloseConnections,
    RestartPostgres,
    Delay,
    Stall,
    Cut,
    Lose,
}

/// The frequency of each kind in a shuffled deck, which guarantees that each kind occurs.
const DECK: [(Card, usize); 15] = [
    (Card::KillWorker, 5),
    (Card::StopWorker, 2),
    (Card::FreezeWorker, 4),
    (Card::KillApi, 3),
    (Card::StopApi, 1),
    (Card::FreezeApi, 2),
    (Card::StopRabbit, 1),
    (Card::KillRabbit, 1),
    (Card::FreezeRabbit, 1),
    (Card::CloseConnections, 3),
    (Card::RestartPostgres, 3),
    (Card::Delay, 4),
    (Card::Stall, 4),
    (Card::Cut, 4),
    (Card::Lose, 4),
];

/// An endless sequence of faults in the order of their times. A target is not hit again before it
/// has had time to recover.
pub struct Plan {
    dice: Xoshiro256PlusPlus,
    deck: Vec<Card>,
    at: Duration,
    /// The end of the recovery of each target.
    busy: HashMap<Target, Duration>,
}

/// A target of one fault at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Target {
    Process(Who),
    Rabbit,
    Postgres,
    Link(Link),
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self { dice, deck: Vec::new(), at: Duration::ZERO, busy: HashMap::new() }
    }

    fn draw(&mut self) -> Fault {
        if self.deck.is_empty() {
            self.deck.extend(DECK.iter().flat_map(|(card, times)| vec![*card; *times]));
            self.deck.shuffle(&mut self.dice);
        }
        let card = self.deck.pop().expect("filled");
        let worker = Who::Worker(self.dice.random_range(0..WORKERS));
        let api = Who::Api(self.dice.random_range(0..APIS));
        let link = *Link::all().choose(&mut self.dice).expect("some");
        match card {
            Card::KillWorker => Fault::Kill(worker),
            Card::StopWorker => Fault::Stop(worker),
            Card::FreezeWorker => Fault::Freeze(worker),
            Card::KillApi => Fault::Kill(api),
            Card::StopApi => Fault::Stop(api),
            Card::FreezeApi => Fault::Freeze(api),
            Card::StopRabbit => Fault::StopRabbit,
            Card::KillRabbit => Fault::KillRabbit,
            Card::FreezeRabbit => Fault::FreezeRabbit,
            Card::CloseConnections => Fault::CloseConnections,
            Card::RestartPostgres => Fault::RestartPostgres,
            Card::Delay => Fault::Delay(link, self.dice.random_range(5..200)),
            Card::Stall => {
                let ways = [Direction::ToServer, Direction::ToClient, Direction::Both];
                Fault::Stall(link, *ways.choose(&mut self.dice).expect("some"))
            }
            Card::Cut => Fault::Cut(link),
            Card::Lose => Fault::Lose(link),
        }
    }
}

impl Iterator for Plan {
    type Item = PlannedFault;

    fn next(&mut self) -> Option<PlannedFault> {
        let fault = self.draw();
        let target = fault.target();
        let lasts = fault
            .length()
            .map_or(Duration::ZERO, |range| Duration::from_millis(self.dice.random_range(range)));
        self.at += Duration::from_millis(self.dice.random_range(PAUSE));
        let free_at = |busy: &HashMap<Target, Duration>| {
            let mut ends: Vec<Duration> = busy.values().copied().collect();
            ends.sort_unstable_by(|a, b| b.cmp(a));
            ends.get(AT_ONCE - 1).copied().unwrap_or_default()
        };
        let recovered = self.busy.get(&target).copied().unwrap_or_default();
        self.at = self.at.max(recovered).max(free_at(&self.busy));
        let at = self.at;
        self.busy.retain(|_, until| *until > at);
        self.busy.insert(target, at + lasts + fault.recovery());
        Some(PlannedFault { at, fault, lasts })
    }
}

impl Fault {
    /// The range of durations in milliseconds. Many freezes and stalls are longer than a lease.
    fn length(self) -> Option<Range<u64>> {
        match self {
            Self::Kill(_) | Self::Stop(_) => Some(0..2500),
            // A restart takes longer than that.
            Self::StopRabbit | Self::KillRabbit => Some(0..1000),
            Self::Freeze(_) => Some(500..7000),
            Self::FreezeRabbit => Some(500..4000),
            Self::Delay(..) => Some(2000..8000),
            Self::Stall(..) => Some(500..8000),
            Self::CloseConnections | Self::RestartPostgres | Self::Cut(_) | Self::Lose(_) => None,
        }
    }

    fn recovery(self) -> Duration {
        match self {
            Self::StopRabbit | Self::KillRabbit => 3 * RECOVERY,
            Self::Delay(..) | Self::Stall(..) | Self::Cut(_) | Self::Lose(_) => Duration::ZERO,
            _ => RECOVERY,
        }
    }

    fn target(self) -> Target {
        match self {
            Self::Kill(who) | Self::Stop(who) | Self::Freeze(who) => Target::Process(who),
            Self::StopRabbit | Self::KillRabbit | Self::FreezeRabbit | Self::CloseConnections => {
                Target::Rabbit
            }
            Self::RestartPostgres => Target::Postgres,
            Self::Delay(link, _) | Self::Stall(link, _) | Self::Cut(link) | Self::Lose(link) => {
                Target::Link(link)
            }
        }
    }

    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill(Who::Worker(_)) => "workers killed",
            Self::Kill(_) => "APIs killed",
            Self::Stop(Who::Worker(_)) => "workers stopped",
            Self::Stop(_) => "APIs stopped",
            Self::Freeze(Who::Worker(_)) => "workers frozen",
            Self::Freeze(_) => "APIs frozen",
            Self::StopRabbit => "RabbitMQ stopped",
            Self::KillRabbit => "RabbitMQ killed",
            Self::FreezeRabbit => "RabbitMQ frozen",
            Self::CloseConnections => "connections closed",
            Self::RestartPostgres => "PostgreSQL restarted",
            Self::Delay(..) => "ways slow",
            Self::Stall(..) => "ways stalled",
            Self::Cut(_) => "ways cut",
            Self::Lose(_) => "ways lost",
        }
    }
}

impl fmt::Display for PlannedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Kill(who) => write!(f, "{who} is killed"),
            Fault::Stop(who) => write!(f, "{who} is stopped"),
            Fault::Freeze(who) => write!(f, "{who} freezes"),
            Fault::StopRabbit => f.write_str("RabbitMQ is stopped"),
            Fault::KillRabbit => f.write_str("RabbitMQ is killed"),
            Fault::FreezeRabbit => f.write_str("RabbitMQ freezes"),
            Fault::CloseConnections => f.write_str("an operator closes all connections"),
            Fault::RestartPostgres => f.write_str("PostgreSQL is restarted"),
            Fault::Delay(link, most) => write!(f, "the way {link} is slow by up to {most} ms"),
            Fault::Stall(link, Direction::Both) => write!(f, "the way {link} stalls"),
            Fault::Stall(link, Direction::ToServer) => {
                write!(f, "the way {link} stalls on the way there")
            }
            Fault::Stall(link, Direction::ToClient) => {
                write!(f, "the way {link} stalls on the way back")
            }
            Fault::Cut(link) => write!(f, "the way {link} is cut"),
            Fault::Lose(link) => write!(f, "the way {link} loses its connections without a word"),
        }?;
        if self.lasts > Duration::ZERO {
            write!(f, ", for {:.1} s", self.lasts.as_secs_f64())?;
        }
        Ok(())
    }
}

#[test]
fn a_seed_plans_the_same_each_time_and_leaves_out_nothing() {
    let cards: usize = DECK.iter().map(|(_, times)| times).sum();
    let plan = |seed| Plan::new(seed).take(cards).collect::<Vec<_>>();
    for seed in 0..100 {
        let described = |plan: &[PlannedFault]| format!("{plan:?}");
        assert_eq!(described(&plan(seed)), described(&plan(seed)));
        let names: std::collections::HashSet<_> =
            plan(seed).iter().map(|planned| planned.fault.name()).collect();
        assert_eq!(names.len(), DECK.len(), "seed {seed}: {names:?}");
    }
}
