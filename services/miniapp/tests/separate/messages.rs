//! Messages that nobody here understands.

use broker::{Message, Queue};
use bytes::Bytes;
use contracts::message::TaskReady;
use contracts::task::Status;
use futures_util::future::join_all;
use serde_json::json;
use testkit::eventually;
use uuid::Uuid;

use crate::support::{shared, somebody};

#[tokio::test]
async fn what_is_not_ours_is_parked_and_holds_up_nothing() {
    let Some(broker) = shared().await else { return };
    let mut platform = broker.platform().await;
    let user = somebody(&platform).await.remove(0);
    let client = broker.client();
    let odd = |body: &'static [u8]| Message {
        body: Bytes::from_static(body),
        ..Message::new(Uuid::new_v4(), &())
    };
    let strangers = vec![odd(b"<order/>"), odd(br#"{"v":"2","task":"of tomorrow"}"#), odd(b"")];
    let count = strangers.len() as u64;
    for answer in client.publish(Queue::Tasks, strangers).await {
        answer.expect("published");
    }
    for answer in client.publish(Queue::AccountDeletions, vec![odd(b"[]")]).await {
        answer.expect("published");
    }
    // A copy of a message about a task that never was has nothing to claim.
    let stale = TaskReady::V1 { task_id: Uuid::new_v4(), generation: 1, version: 1 };
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
    let lines: usize = platform
        .services()
        .map(|service| service.log().matches("parked a message that is not ours").count())
        .sum();
    assert_eq!(lines, 4, "one line each");
}
