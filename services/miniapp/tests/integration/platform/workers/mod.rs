//! Workers of every language behave alike.

mod implementation;
mod protocol;

use miniapp_test_support::eventually;
use miniapp_test_support::platform::{Engines, Platform, User, task};
use miniapp_types::task::{Event, EventType, Status};
use rustix::process::Signal;
use serde_json::json;

use self::implementation::Implementation::{self, Node, Python, Rust};
use crate::platform::support::program_on;

/// A platform without workers of its own, unless they are tested.
struct World {
    platform: Platform,
    user: User,
    admin: User,
    implementation: Implementation,
}

impl World {
    async fn start(engines: Engines, implementation: Implementation) -> Self {
        let own_workers = u8::from(implementation == Rust);
        let program = program_on(engines).await;
        let program = program
            .set("auth.admin_email", "admin@example.com")
            .set("worker.replicas", own_workers)
            .set("worker.lease", "2s");
        let platform = program.start().await;
        let (admin, user) = (platform.sign_up("admin").await, platform.sign_up("grace").await);
        Self { platform, user, admin, implementation }
    }

    /// Starts a worker, unless the platform has its own.
    async fn worker(&self, name: &str) -> Option<implementation::Worker> {
        let worker = self.implementation.start(&self.platform, &self.admin.access(), name, "0.2");
        let is_listed = async || {
            let workers = self.user.client().workers().await.expect("workers").workers;
            (!workers.is_empty()).then_some(())
        };
        eventually("a worker is listed", is_listed).await;
        worker
    }
}

async fn task_finishes_with_its_result(world: World) {
    let _worker = world.worker("w").await;
    let data = json!({ "a": [1, null, "é"], "b": 1.5 });
    let id = world.user.submit("echo", &data).await.task_id;
    let task = world.user.until(id, Status::Finished).await;
    assert_eq!(task.result, Some(data));
    let types = world.user.event_types(id).await;
    assert_eq!(types, [EventType::Created, EventType::Started, EventType::Finished]);
    let kinds = world.user.client().kinds().await.expect("kinds").kinds;
    assert!(kinds.iter().any(|kind| kind.name == "echo"));
}

async fn failed_attempt_is_retried(world: World) {
    let _worker = world.worker("w").await;
    let id = world.user.submit("flaky", &json!({ "failures": 1 })).await.task_id;
    let task = world.user.until(id, Status::Finished).await;
    assert_eq!((task.attempt, &task.result.expect("a result")["attempt"]), (2, &json!(2)));
    let events = world.user.timeline(id).await;
    let retrying = |event: &&Event| event.kind == EventType::Retrying;
    assert_eq!(events.iter().filter(retrying).count(), 1);
}

async fn cancel_stops_the_attempt(world: World) {
    let _worker = world.worker("w").await;
    let id = world.user.submit("sleep", &json!({ "seconds": 3600 })).await.task_id;
    world.user.until(id, Status::Executing).await;
    world.user.client().cancel(id).await.expect("canceled");
    let task = world.user.until(id, Status::Canceled).await;
    assert_eq!(task.status_message.as_deref(), Some("Canceled by its owner"));
    // Its slot is free again.
    for _ in 0..8 {
        let id = world.user.submit("echo", &json!(1)).await.task_id;
        world.user.until(id, Status::Finished).await;
    }
}

async fn attempt_ends_at_its_ttl(world: World) {
    let _worker = world.worker("w").await;
    let mut body = task("sleep", &json!({ "seconds": 3600 }));
    body["ttl"] = json!(1);
    let answer = world.user.try_submit(&body).await.expect("an answer").expect(201);
    let id = answer.text("taskId").parse().expect("a UUID");
    let task = world.user.until(id, Status::Canceled).await;
    assert_eq!(task.status_message.as_deref(), Some("TTL is shorter than the execution time"));
}

async fn task_of_a_killed_worker_continues(world: World) {
    let worker = world.worker("w").await;
    let id = world.user.submit("sleep", &json!({ "seconds": 0.5 })).await.task_id;
    let Some(mut worker) = worker else { return };
    world.user.until(id, Status::Executing).await;
    worker.signal(Signal::KILL);
    worker.ended().await;
    let _next = world.worker("next").await;
    let task = world.user.until(id, Status::Finished).await;
    assert_eq!(task.worker.as_deref(), Some("next"));
}

async fn stopped_worker_returns_its_task(world: World) {
    let Some(mut worker) = world.worker("w").await else { return };
    let id = world.user.submit("sleep", &json!({ "seconds": 3600 })).await.task_id;
    world.user.until(id, Status::Executing).await;
    worker.signal(Signal::TERM);
    assert!(worker.ended().await.success());
    let task = world.user.until(id, Status::Awaiting).await;
    assert_eq!((task.attempt, task.error), (0, None));
    let types = world.user.event_types(id).await;
    assert_eq!(types.last(), Some(&EventType::Released));
}

async fn frozen_worker_loses_its_task(world: World) {
    let Some(mut worker) = world.worker("w").await else { return };
    let id = world.user.submit("sleep", &json!({ "seconds": 8 })).await.task_id;
    world.user.until(id, Status::Executing).await;
    worker.signal(Signal::STOP);
    let _next = world.implementation.start(&world.platform, &world.admin.access(), "next", "0.2");
    let lost = async || {
        let types = world.user.event_types(id).await;
        types.contains(&EventType::LeaseLost).then_some(())
    };
    eventually("the lease is lost", lost).await;
    worker.signal(Signal::CONT);
    let task = world.user.until(id, Status::Finished).await;
    assert!(task.attempt >= 2, "{task:?}");
    worker.signal(Signal::TERM);
    assert!(worker.ended().await.success(), "it goes on after the pause");
}

/// Makes a test of each function, for each implementation and database.
macro_rules! tests {
    ($($case:ident),* $(,)?) => {
        mod rust {
            $(mod $case {
                use crate::platform::workers::{self, Engines, Rust, World};

                #[tokio::test]
                async fn embedded() {
                    workers::$case(World::start(Engines::Embedded, Rust).await).await;
                }

                #[tokio::test]
                #[ignore = "needs PostgreSQL"]
                async fn postgres() {
                    workers::$case(World::start(Engines::Postgres, Rust).await).await;
                }
            })*
        }

        tests!(@ python_workers Python "needs Python" $($case)*);
        tests!(@ node_workers Node "needs Node" $($case)*);
    };
    (@ $module:ident $implementation:ident $needs:literal $($case:ident)*) => {
        mod $module {
            $(mod $case {
                use crate::platform::workers::{self, Engines, World, $implementation};

                #[tokio::test]
                #[ignore = $needs]
                async fn embedded() {
                    workers::$case(World::start(Engines::Embedded, $implementation).await).await;
                }

                #[tokio::test]
                #[ignore = $needs]
                async fn postgres() {
                    workers::$case(World::start(Engines::Postgres, $implementation).await).await;
                }
            })*
        }
    };
}

tests! {
    task_finishes_with_its_result,
    failed_attempt_is_retried,
    cancel_stops_the_attempt,
    attempt_ends_at_its_ttl,
    task_of_a_killed_worker_continues,
    stopped_worker_returns_its_task,
    frozen_worker_loses_its_task,
}
