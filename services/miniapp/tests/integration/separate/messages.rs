//! Unreadable messages, and messages of another version.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::future::join_all;
use miniapp_broker::{Message, Queue};
use miniapp_test_support::eventually;
use miniapp_test_support::platform::Separate;
use miniapp_types::message::TaskReady;
use miniapp_types::task::Status;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::separate::support::{expect_finished_once, new_user, shared};

/// Waits until all services together have logged `text` this often, and fails if it is more.
async fn expect_log_lines(platform: &mut Separate, text: &str, count: usize) {
    let mut lines = || -> usize {
        platform.services().map(|service| service.log().matches(text).count()).sum()
    };
    eventually(&format!("{text:?} is logged"), async || (lines() >= count).then_some(())).await;
    assert_eq!(lines(), count, "one line each");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn unreadable_messages_are_parked() {
    let broker = shared().await;
    let mut platform = broker.platform().await;
    let user = new_user(&platform).await.remove(0);
    let client = broker.client();
    let with_body = |body: &'static [u8]| Message {
        body: Bytes::from_static(body),
        ..Message::new(Uuid::new_v4(), &())
    };
    let foreign = vec![
        with_body(b"<order/>"),
        with_body(br#"{"v":"2","task":"of tomorrow"}"#),
        with_body(b""),
    ];
    let count = foreign.len() as u64;
    for answer in client.publish(Queue::Tasks, foreign).await {
        answer.expect("published");
    }
    for answer in client.publish(Queue::AccountDeletions, vec![with_body(b"[]")]).await {
        answer.expect("published");
    }
    // A message about an unknown task has nothing to claim.
    let stale = TaskReady::V1 { task_id: Uuid::new_v4(), generation: 1, version: 1, queue: None };
    client.publish(Queue::Tasks, vec![Message::new(Uuid::new_v4(), &stale)]).await;

    let tasks = (0..20).map(async |number| user.submit("echo", &json!(number)).await);
    for task in join_all(tasks).await {
        user.until(task.task_id, Status::Finished).await;
    }
    let parked = async || client.depth(Queue::Parked).await.ok().filter(|all| *all == count + 1);
    eventually("all are parked", parked).await;
    for queue in [Queue::Tasks, Queue::AccountDeletions, Queue::DeadLetters] {
        let empty = async || client.depth(queue).await.ok().filter(|depth| *depth == 0);
        eventually("the queue is empty", empty).await;
    }
    expect_log_lines(&mut platform, "parked a message that is foreign", 4).await;
}

/// During a rollout a queue contains messages of both versions, and consumers of both receive them.
/// Messages that the older consumers can't read are parked for the newer ones and block nothing.
#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn messages_of_two_versions_share_a_queue() {
    let broker = shared().await;
    let mut platform = Separate::start(&broker.program(), 1, 1).await;
    let user = new_user(&platform).await.remove(0);
    platform.workers[0].kill().await;
    let submits = (0..30).map(async |number| user.submit("echo", &json!(number)).await.task_id);
    let tasks = join_all(submits).await;
    // Messages as newer processes would send them: with a new version, or with an additional field.
    let client = broker.client();
    let mut consumer = client.consume(Queue::Tasks, 30).await.expect("a consumer");
    let mut newer = HashMap::new();
    for number in 0..tasks.len() {
        let delivery = consumer.next().await.expect("a message");
        let mut body: Value = serde_json::from_slice(&delivery.message.body).expect("JSON");
        body["priority"] = json!(7);
        if number % 3 == 0 {
            body["v"] = json!("2");
            newer.insert(delivery.message.id, delivery.message.clone());
        }
        let body = if number % 3 == 1 {
            delivery.message.body.clone()
        } else {
            serde_json::to_vec(&body).expect("JSON").into()
        };
        let message = Message { body, ..delivery.message.clone() };
        for answer in client.publish(Queue::Tasks, vec![message]).await {
            answer.expect("published");
        }
        delivery.ack().await;
    }
    drop(consumer);

    platform.workers[0].start_again().await;
    let parked = async || client.depth(Queue::Parked).await.ok().filter(|all| *all == 10);
    eventually("those of the newer version are parked", parked).await;
    let (waiting, readable): (Vec<Uuid>, Vec<Uuid>) = tasks
        .iter()
        .partition(|task| newer.values().any(|message| message.conversation == Some(**task)));
    expect_finished_once(&user, &readable).await;
    for task in &waiting {
        assert_eq!(user.task(*task).await.status, Status::Awaiting);
    }
    expect_log_lines(&mut platform, "of an unknown version", newer.len()).await;

    // A newer API reads the parked messages when it starts. This process knows the older version
    // only, so the parked messages are changed to that.
    let mut parked = client.consume(Queue::Parked, 10).await.expect("a consumer");
    for _ in 0..newer.len() {
        let message = parked.next().await.expect("a parked message");
        let older = newer[&message.message.id].clone();
        for answer in client.publish(Queue::Parked, vec![older]).await {
            answer.expect("published");
        }
        message.ack().await;
    }
    drop(parked);
    platform.apis[0].kill().await;
    platform.apis[0].start_again().await;
    expect_finished_once(&user, &waiting).await;
}
