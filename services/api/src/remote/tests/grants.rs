//! Faults between a message and the answer to a claim call.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use miniapp_broker::{
    Broker, BrokerError, Consumer, Delivery, MemoryBroker, Message, Queue, Subscription, Topic,
};
use miniapp_runtime::clock::Clock as _;
use miniapp_runtime::health::Condition;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_tasks::Claimed;
use miniapp_tasks::engine::WorkerReport;
use miniapp_types::message::TaskReady;
use miniapp_types::task::{Status, Worker};
use serde_json::json;
use uuid::Uuid;

use super::{Fixture, id_of};
use crate::remote::demand::Demand;
use crate::remote::grants::Grant;
use crate::remote::held::Held;
use crate::remote::polls::Polls;
use crate::testing::eventually;

/// A broker that begins the shutdown with each delivery.
struct Stopping {
    broker: Arc<MemoryBroker>,
    shutdown: Shutdown,
}

struct StoppingConsumer {
    consumer: Box<dyn Consumer>,
    shutdown: Shutdown,
}

#[async_trait]
impl Consumer for StoppingConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.consumer.next().await;
        self.shutdown.begin();
        delivery
    }

    async fn stop(&mut self) {
        self.consumer.stop().await;
    }
}

#[async_trait]
impl Broker for Stopping {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Vec<Result<(), BrokerError>> {
        self.broker.publish(queue, messages).await
    }

    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        let consumer = self.broker.consume(queue, prefetch).await?;
        Ok(Box::new(StoppingConsumer { consumer, shutdown: self.shutdown.clone() }))
    }

    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError> {
        self.broker.broadcast(topic, message).await
    }

    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError> {
        self.broker.subscribe(topic).await
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.broker.depth(queue).await
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.broker.ping().await
    }

    fn is_durable(&self) -> bool {
        self.broker.is_durable()
    }
}

impl Fixture {
    /// Submits a task and claims it as this process would, without a call.
    async fn claim_for_no_call(&self) -> Claimed {
        let id = self.submit().await;
        let state = self.task(id).await.state;
        let ready = TaskReady::V1 {
            task_id: id,
            generation: state.generation,
            version: state.version,
            queue: None,
        };
        let shared = &self.platform.api.remote.0;
        let claimed = shared.tasks.claim(&ready, &"w".into(), shared.lease, false).await;
        let claimed = claimed.expect("a store").claimed().expect("a task to claim");
        assert!(shared.held.insert(claimed.claim, Held::new(&claimed.task)));
        claimed
    }
}

fn demand() -> Demand {
    Demand {
        worker: "w".into(),
        kinds: Arc::new(HashSet::new()),
        queues: Vec::new(),
        max: 1,
        is_brief: false,
    }
}

#[tokio::test]
async fn message_returns_if_its_claim_fails() {
    let fixture = Fixture::start().await;
    let id = fixture.submit_and_publish().await;
    fixture
        .platform
        .execute(
            "CREATE TRIGGER failure BEFORE UPDATE ON tasks WHEN NEW.lease_until IS NOT NULL
             BEGIN SELECT RAISE(ABORT, 'no space'); END",
        )
        .await;
    let repaired = async {
        eventually("a claim fails", async || {
            matches!(fixture.platform.tasks.condition().await, Ok(Condition::Degraded(_)))
        })
        .await;
        fixture.platform.execute("DROP TRIGGER failure").await;
    };
    let (claims, ()) = tokio::join!(fixture.claim_as("w", 1, 30), repaired);
    assert_eq!(claims.iter().map(id_of).collect::<Vec<_>>(), [id]);
    assert_eq!(claims[0]["attempt"], 1);
}

#[tokio::test]
async fn shutdown_during_a_claim_loses_no_task() {
    let fixture = Fixture::start().await;
    fixture.platform.stop_background().await;
    let id = fixture.submit_and_publish().await;
    let shutdown = Shutdown::new();
    let memory = fixture.platform.broker.clone();
    let broker: Arc<dyn Broker> = Arc::new(Stopping { broker: memory, shutdown: shutdown.clone() });
    let remote = fixture.platform.api.remote.clone();
    let (claims, ()) = tokio::join!(fixture.claim_as("w", 1, 30), remote.run(&broker, &shutdown));
    assert_eq!(claims.iter().map(id_of).collect::<Vec<_>>(), [id]);
    assert_eq!(fixture.claim_as("w", 1, 30).await.len(), 0, "calls are answered at once");
}

#[tokio::test]
async fn call_that_does_not_wait_gets_what_is_queued() {
    let fixture = Fixture::start().await;
    let id = fixture.submit_and_publish().await;
    assert_eq!(id_of(&fixture.claim_as("w", 1, 0).await.remove(0)), id);
    assert_eq!(fixture.claim_as("w", 1, 0).await.len(), 0);
    assert_eq!(fixture.task(id).await.state.attempt, 1);
}

#[tokio::test]
async fn claims_that_are_being_made_answer_a_call_whose_time_has_ended() {
    let fixture = Fixture::start().await;
    fixture.platform.stop_background().await;
    let claimed = fixture.claim_for_no_call().await;
    let polls = Polls::default();
    let poll = polls.begin(demand());
    let id = polls.demands()[0].0;
    let serving = polls.serve([id]);
    assert_eq!(polls.demands().len(), 0, "it is answered once");
    let mut finished = Box::pin(poll.finish());
    assert!(futures_util::poll!(&mut finished).is_pending());
    polls.answer(id, Grant::new(claimed, fixture.platform.api.remote.0.clone()));
    drop(serving);
    let grant = finished.await.expect("a grant");
    assert_eq!(grant.claims().len(), 1);
    grant.keep();

    let poll = polls.begin(demand());
    let serving = polls.serve([polls.demands()[0].0]);
    let mut finished = Box::pin(poll.finish());
    assert!(futures_util::poll!(&mut finished).is_pending());
    drop(serving);
    assert!(finished.await.is_none(), "nothing was claimed");
    assert!(polls.begin(demand()).finish().await.is_none());
}

#[tokio::test]
async fn dropped_grant_releases_its_tasks_and_frees_the_worker() {
    let fixture = Fixture::start().await;
    fixture.platform.stop_background().await;
    let claimed = fixture.claim_for_no_call().await;
    let id: Uuid = claimed.task.id;
    let shared = fixture.platform.api.remote.0.clone();
    assert_eq!(shared.held.count("w", shared.lease), 1);
    drop(Grant::new(claimed, shared.clone()));
    assert_eq!(shared.held.count("w", shared.lease), 0);
    eventually("it is released", async || {
        let state = fixture.task(id).await.state;
        (state.status, state.attempt) == (Status::Awaiting, 0)
    })
    .await;
}

#[tokio::test]
async fn worker_that_stops_at_the_ttl_is_free() {
    let fixture = Fixture::start().await;
    fixture.submit().await;
    let claim = fixture.claim().await;
    fixture.platform.clock.advance(std::time::Duration::from_secs(6));
    let stopped = json!({"stopped": true});
    for _ in 0..2 {
        assert!(fixture.settle(&claim, &stopped).await.is_null(), "also repeated");
    }
    let shared = &fixture.platform.api.remote.0;
    assert_eq!(shared.held.count("w", shared.lease), 0);
}

#[tokio::test]
async fn tasks_of_other_queues_and_of_own_kinds_are_claimed() {
    let fixture = Fixture::start().await;
    let other = WorkerReport {
        worker: Worker {
            name: "rust".into(),
            version: "1".into(),
            kinds: vec!["hash".into()],
            queues: Vec::new(),
            running: 0,
            capacity: 1,
            started_at: fixture.platform.clock.now(),
            last_seen_at: fixture.platform.clock.now(),
        },
        schemas: BTreeMap::new(),
        has_kind_queues: true,
        is_remote: false,
    };
    fixture.platform.tasks.report_worker(&other).await.expect("a store");
    let kind = json!({"name": "resize", "queue": "images"});
    let call = |queues: Option<&str>| {
        let mut body = json!({"worker": "w", "kinds": [kind], "max": 1, "waitSeconds": 30});
        if let Some(queue) = queues {
            body["queues"] = json!([queue]);
        }
        body
    };
    for (queue, queues) in [("images", None), ("images", Some("images")), ("default", None)] {
        let submit = async {
            let listed = async || {
                let workers = fixture.platform.tasks.workers().await.expect("a store");
                workers.iter().any(|worker| worker.name == "w")
            };
            eventually("the worker is listed", listed).await;
            let body = json!({
                "description": "d", "data": 1, "ttl": 5, "kind": "resize", "queue": queue,
            });
            let task = fixture.platform.post("/api/tasks").token(&fixture.token).json(&body);
            let task = task.send().await;
            assert_eq!(task.status(), 201, "{task:?}");
            task.json()["taskId"].clone()
        };
        let body = call(queues);
        let (answer, id) = tokio::join!(fixture.post("claims", &body), submit);
        let claim = answer.json()["claims"][0].clone();
        assert_eq!(claim["taskId"], id, "{queue} {queues:?}");
        assert!(fixture.settle(&claim, &json!({"result": null})).await.is_null());
    }
}
