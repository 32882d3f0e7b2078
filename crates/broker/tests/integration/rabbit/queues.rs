//! Behaviour of this engine only, and the format of its messages.

use lapin::BasicProperties;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ExchangeDeleteOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, ShortString};
use miniapp_broker::{Broker, BrokerError, Message, Queue};
use miniapp_test_support::eventually;
use miniapp_types::trace::TraceContext;
use uuid::Uuid;

use crate::rabbit::{message, messages, next, open, publish, raw, shared, within};

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn messages_have_amqp_properties_and_headers() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let trace = TraceContext {
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        tracestate: None,
        baggage: Some("key=value".into()),
    };
    let sent = message(7).with_conversation(Uuid::new_v4()).with_trace(trace.clone());
    publish(&open(&url), vec![sent.clone()]).await.unwrap();

    let (_connection, channel) = raw(&url).await;
    let options = BasicGetOptions { no_ack: true };
    let got = channel.basic_get("tasks".into(), options).await.unwrap().unwrap().delivery;
    let text = |id: Uuid| Some(ShortString::from(id.to_string()));
    assert_eq!((got.exchange.as_str(), got.routing_key.as_str()), ("tasks", "run"));
    assert_eq!(*got.properties.message_id(), text(sent.id));
    assert_eq!(*got.properties.correlation_id(), sent.conversation.and_then(text));
    assert_eq!(*got.properties.delivery_mode(), Some(2));
    assert_eq!(*got.properties.content_type(), Some("application/json".into()));
    let headers = got.properties.headers().clone().unwrap();
    let header = |name: &str| match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => Some(text.to_string().into_boxed_str()),
        _ => None,
    };
    assert_eq!(header("traceparent"), trace.traceparent);
    assert_eq!(header("tracestate"), None);
    assert_eq!(header("baggage"), trace.baggage);
    assert_eq!(got.data, sent.body);
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn foreign_messages_are_delivered() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let broker = open(&url);
    let mut consumer = broker.consume(Queue::Tasks, 1).await.unwrap();
    let (_connection, channel) = raw(&url).await;
    let bare = BasicProperties::default();
    let odd = BasicProperties::default().with_message_id("order 17".into()).with_priority(9);
    for (body, properties) in [(&b"<xml/>"[..], bare), (&[0xff, 0][..], odd)] {
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish("".into(), "tasks".into(), options, body, properties);
        sent.await.unwrap().await.unwrap();
        let delivery = next(&mut *consumer).await;
        assert_eq!(&delivery.message.body[..], body);
        assert_eq!(delivery.message.id, Uuid::nil());
        assert!(delivery.message.decode::<u32>().is_err());
        delivery.ack().await;
    }
    publish(&broker, vec![message(1)]).await.unwrap();
    assert_eq!(next(&mut *consumer).await.message.decode::<u32>().unwrap(), 1);
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn message_that_crashes_consumers_is_dead_lettered() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let broker = open(&url);
    let mut dead = broker.consume(Queue::DeadLetters, 1).await.unwrap();
    let poison = message(1);
    publish(&broker, vec![poison.clone()]).await.unwrap();
    // Consumers that crash. RabbitMQ 4.3 does not count releases.
    let mut count = 0;
    let crashing = async {
        loop {
            let (connection, channel) = raw(&url).await;
            let options = BasicGetOptions { no_ack: false };
            if channel.basic_get("tasks".into(), options).await.unwrap().is_some() {
                count += 1;
            }
            connection.close(200, "crash".into()).await.unwrap();
        }
    };
    let dead_letter = async {
        tokio::select! {
            dead_letter = dead.next() => dead_letter.unwrap(),
            () = crashing => unreachable!(),
        }
    };
    let dead_letter = within("the dead letter", dead_letter).await;
    assert_eq!(dead_letter.message.id, poison.id);
    assert_eq!(dead_letter.message.body, poison.body);
    assert!((20..200).contains(&count), "after {count} deliveries");
    dead_letter.ack().await;
    let depth = async || broker.depth(Queue::DeadLetters).await.ok().filter(|depth| *depth == 0);
    eventually("the queue is empty", depth).await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn deleted_queue_is_redeclared() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let broker = open(&url);
    publish(&broker, messages(1)).await.unwrap();
    let (_connection, channel) = raw(&url).await;
    let delete = async || {
        channel.queue_delete("tasks".into(), QueueDeleteOptions::default()).await.unwrap();
    };

    delete().await;
    let answers = broker.publish(Queue::Tasks, messages(3)).await;
    for answer in answers {
        assert!(matches!(answer, Err(BrokerError::Refused(_))), "{answer:?}");
    }
    publish(&broker, messages(1)).await.unwrap();

    delete().await;
    assert!(broker.depth(Queue::Tasks).await.is_err());
    assert_eq!(broker.depth(Queue::Tasks).await.unwrap(), 0);

    let mut consumer = broker.consume(Queue::Tasks, 1).await.unwrap();
    delete().await;
    let sent: Message = message(9);
    let publishing = async || publish(&broker, vec![sent.clone()]).await.ok();
    eventually("the queue exists again", publishing).await;
    assert_eq!(next(&mut *consumer).await.message.id, sent.id);
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn deleted_exchange_is_redeclared() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let broker = open(&url);
    publish(&broker, messages(1)).await.unwrap();
    let (_connection, channel) = raw(&url).await;
    channel.exchange_delete("tasks".into(), ExchangeDeleteOptions::default()).await.unwrap();
    let answer = publish(&broker, messages(2)).await;
    assert!(matches!(answer, Err(BrokerError::Unavailable(_))), "{answer:?}");
    publish(&broker, messages(1)).await.unwrap();
}
