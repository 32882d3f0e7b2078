//! Faults of processes, the broker and the clock.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use miniapp_broker::{Broker as _, Queue};
use tokio::time::{Instant, sleep, timeout};

use crate::simulation::process::{Process, Role};
use crate::simulation::world::{ROLES, World};

/// Injects faults until the fault phase ends.
pub async fn run(world: Arc<World>) {
    while !world.calm.has_begun() {
        sleep(world.draw_time(100..2500)).await;
        let place = {
            let count = world.processes.lock().len();
            world.draw(0..count)
        };
        match world.draw(0..12) {
            0..3 => restart(&world, place, false).await,
            3..5 => restart(&world, place, true).await,
            5 => freeze(&world, place),
            6 | 7 => cut(&world, place),
            8 => outage(&world).await,
            9 => jump(&world),
            10 => {
                let time = world.draw_time(0..5000);
                world.note(|| format!("the store is away for {time:?}"));
                *world.store_away_until.lock() = Instant::now() + time;
            }
            _ => lose_messages(&world).await,
        }
    }
}

/// Starts processes again that their tasks have killed, like a process manager.
pub async fn replace_killed(world: Arc<World>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        for (place, role) in (0..).zip(ROLES) {
            let is_dead = |process: &Process| process.handle.is_dead();
            if world.processes.lock().get(place).is_some_and(|it| it.as_ref().is_some_and(is_dead))
            {
                let process = Process::start(&world, role, place);
                world.processes.lock()[place] = Some(process);
            }
        }
    }
}

/// Stops or crashes a process, and starts it again later.
async fn restart(world: &Arc<World>, place: usize, gently: bool) {
    let taken = world.processes.lock()[place].take();
    let Some(process) = taken else { return };
    let role = process.role;
    if gently && role == Role::Worker {
        let handle = process.handle.clone();
        // A process that takes too long is killed, as by a process manager.
        let grace = world.draw_time(5000..40_000);
        if timeout(grace, process.stop()).await.is_err() {
            world.note(|| format!("{} takes too long", handle.name));
            handle.kill();
        }
    } else {
        process.handle.kill();
    }
    sleep(world.draw_time(0..5000)).await;
    let process = Process::start(world, role, place);
    world.processes.lock()[place] = Some(process);
}

fn freeze(world: &World, place: usize) {
    let time = world.draw_time(1000..40_000);
    if let Some(process) = &world.processes.lock()[place] {
        world.note(|| format!("{} freezes for {time:?}", process.handle.name));
        process.handle.freeze(time);
    }
}

fn cut(world: &World, place: usize) {
    if let Some(process) = &world.processes.lock()[place] {
        world.note(|| format!("{} loses its connections", process.handle.name));
        process.handle.cut.notify_waiters();
    }
}

async fn outage(world: &World) {
    let time = world.draw_time(100..6000);
    world.note(|| format!("the broker is away for {time:?}"));
    world.broker.pause();
    sleep(time).await;
    world.broker.resume();
}

/// Sets the clock forward, or slightly backward.
fn jump(world: &World) {
    let by = SignedDuration::from_millis(match world.draw(0..2) {
        0 => world.draw(1000..60_000),
        _ => -world.draw(1..1000),
    });
    world.note(|| format!("the clock jumps by {by:?}"));
    world.clock.jump(by);
}

/// Loses the messages in the queue.
async fn lose_messages(world: &World) {
    let depth = world.broker.depth(Queue::Tasks).await.unwrap_or(0);
    let Ok(mut consumer) = world.broker.consume(Queue::Tasks, u16::MAX).await else { return };
    let mut lost = 0;
    while lost < depth
        && let Ok(Some(delivery)) = timeout(Duration::from_millis(1), consumer.next()).await
    {
        delivery.ack().await;
        lost += 1;
    }
    world.note(|| format!("the broker loses {lost} messages"));
}
