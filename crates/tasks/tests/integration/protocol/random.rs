//! Random operations of clients and workers on two processes with failing stores and broker
//! outages; the guarantees have to hold.

mod clients;
mod workers;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::{Claim, Filter, Task, Tasks};
use miniapp_test_support::{timeline_checks, timelines};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::protocol::support::{Fault, Faulty, World, eventually, seed, timeline, within};

/// The observations of clients and workers.
#[derive(Default)]
struct Notes {
    accepted: Mutex<Vec<Task>>,
    /// By key: the tasks that its submits returned, and how many were new.
    keyed: Mutex<HashMap<String, (HashSet<Uuid>, usize)>>,
    claims: Mutex<HashSet<Claim>>,
    outcomes: Mutex<HashSet<Claim>>,
    renewals: Mutex<HashMap<Uuid, u64>>,
}

/// The shared state.
struct Stage {
    world: World,
    notes: Notes,
    processes: [Tasks; 2],
    /// Begins when the random part is over and all tasks have to finish.
    calm: Shutdown,
    /// Begins when all tasks have finished.
    end: Shutdown,
}

/// Advances the clock and interrupts the broker.
async fn inject_outages(stage: Arc<Stage>, mut rng: SmallRng) {
    while !stage.calm.has_begun() {
        match rng.random_range(0..10) {
            0 => stage.world.broker.pause(),
            1..4 => stage.world.broker.resume(),
            _ => stage.world.clock.advance(Duration::from_millis(rng.random_range(1..3000))),
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(1..20))).await;
    }
    stage.world.broker.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_under_random_operations() {
    let mut seeds = SmallRng::seed_from_u64(seed());
    let mut rng = || SmallRng::seed_from_u64(seeds.random());
    let world = World::new();
    let engines = [Faulty::new(world.engine().await), Faulty::new(world.engine().await)];
    let running = engines.each_ref().map(|engine| world.process_on(Arc::clone(engine) as _));
    for engine in &engines {
        let mut rng = rng();
        engine.plan(move || match rng.random_range(0..50) {
            0 => Some(Fault::Before),
            1 => Some(Fault::After),
            _ => None,
        });
    }
    let stage = Arc::new(Stage {
        world,
        notes: Notes::default(),
        processes: running.each_ref().map(|process| process.tasks.clone()),
        calm: Shutdown::new(),
        end: Shutdown::new(),
    });

    let mut clients = JoinSet::new();
    for number in 0..6 {
        clients.spawn(clients::run(stage.clone(), number, rng()));
    }
    let mut others = JoinSet::new();
    for number in 0..4 {
        others.spawn(workers::run(stage.clone(), number, rng()));
    }
    others.spawn(inject_outages(stage.clone(), rng()));
    let over =
        async { while clients.join_next().await.transpose().expect("no panic").is_some() {} };
    within("the clients", over).await;
    for engine in &engines {
        engine.plan(|| None);
    }
    stage.calm.begin();

    let [tasks, _] = &stage.processes;
    let all = Filter { limit: 100_000, ..Filter::default() };
    let have_ended = async || {
        stage.world.clock.advance(Duration::from_secs(1));
        let listed = tasks.list(&all).await.expect("a store");
        listed.iter().all(|task| task.state.status.is_terminal())
    };
    eventually("the end of all tasks", have_ended).await;
    stage.end.begin();
    let over = async { while others.join_next().await.transpose().expect("no panic").is_some() {} };
    within("the workers", over).await;
    check(&stage).await;
    join_all(running.map(crate::protocol::support::Process::stop)).await;
}

async fn check(stage: &Stage) {
    let [tasks, _] = &stage.processes;
    let notes = &stage.notes;
    let engine = stage.world.engine().await;
    let all = Filter { limit: 100_000, ..Filter::default() };
    // Including tasks whose submit returned an error.
    let listed = tasks.list(&all).await.expect("a store");
    let accepted = notes.accepted.lock().clone();
    assert!(accepted.len() > 100, "{} tasks are too few", accepted.len());
    let ids: HashSet<Uuid> = accepted.iter().chain(&listed).map(|task| task.id).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let stored = engine.load(&ids).await.expect("a store");
    assert_eq!(stored.len(), ids.len(), "accepted tasks are lost");
    for task in &stored {
        assert!(task.state.status.is_terminal(), "{task:?}");
        let renewals = notes.renewals.lock().get(&task.id).copied().unwrap_or(0);
        timeline_checks::check(task, &timeline(tasks, task).await, renewals);
    }
    check_events(&stage.world, &stored).await;
    for (key, (answers, fresh)) in notes.keyed.lock().iter() {
        assert!(answers.len() == 1 && *fresh <= 1, "{key}: {answers:?}, {fresh} of them fresh");
    }
    let (claims, outcomes) = (notes.claims.lock(), notes.outcomes.lock());
    assert!(outcomes.is_subset(&claims), "an outcome without a claim");
    assert!(outcomes.len() > 100, "{} outcomes are too few", outcomes.len());
}

/// Reading from any event on returns all later events.
async fn check_events(world: &World, tasks: &[Task]) {
    let engine = world.engine().await;
    let owners: HashSet<Uuid> = tasks.iter().map(|task| task.owner).collect();
    for owner in owners {
        let mut expected = Vec::new();
        for task in tasks.iter().filter(|task| task.owner == owner) {
            let stored = timelines::stored(&*engine, task.id).await.expect("a store");
            expected.extend(stored.expect("a task"));
        }
        expected.sort_by_key(|event| event.id);
        for (place, event) in expected.iter().enumerate().step_by(97) {
            let returned = timelines::following(&*engine, owner, event.id, 1000).await;
            let returned = returned.expect("a store");
            assert_eq!(returned, expected[place + 1..], "after {event:?}");
        }
    }
}
