//! How many messages a second pass through a broker, published with confirmation,
//! consumed and acknowledged: `throughput URL [COUNT [PUBLISHERS [BATCH [PREFETCH]]]]`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, Message, Queue};
use kit::config::EngineUrl;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the URL of a broker");
    let mut number =
        |default: usize| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (count, publishers) = (number(100_000), number(8));
    let (batch, prefetch) = (number(256), number(300));
    let count = count / publishers * publishers;
    let broker = broker::open(&EngineUrl::new(url)).expect("a broker");

    let began = Instant::now();
    let publishing = publish(&broker, count, publishers, batch);
    let consuming = consume(&broker, count, prefetch);
    let (published, ()) = tokio::join!(publishing, consuming);
    let (published, consumed) = (rate(count, published), rate(count, began.elapsed()));
    println!("published {published:.0}/s, consumed {consumed:.0}/s");
}

async fn publish(
    broker: &Arc<dyn Broker>,
    count: usize,
    publishers: usize,
    batch: usize,
) -> Duration {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..publishers {
        let broker = Arc::clone(broker);
        tasks.spawn(async move {
            let mut left = count / publishers;
            while left > 0 {
                let messages: Vec<Message> = (0..batch.min(left)).map(|_| message()).collect();
                left -= messages.len();
                for answer in broker.publish(Queue::Tasks, messages).await {
                    answer.expect("a confirmation");
                }
            }
        });
    }
    tasks.join_all().await;
    began.elapsed()
}

async fn consume(broker: &Arc<dyn Broker>, count: usize, prefetch: usize) {
    let prefetch = u16::try_from(prefetch).expect("a prefetch below 65536");
    let mut consumer = broker.consume(Queue::Tasks, prefetch).await.expect("a consumer");
    for _ in 0..count {
        consumer.next().await.expect("a message").ack().await;
    }
}

fn message() -> Message {
    let id = Uuid::new_v4();
    Message::new(id, &json!({ "v": "1", "taskId": id, "generation": 1, "version": 1 })).about(id)
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts that far")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
