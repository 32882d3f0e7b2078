//! Metrics of messages, for every engine.

use std::sync::LazyLock;

use async_trait::async_trait;
use miniapp_telemetry::metrics::{self, Counter, Exemplar, Family, Histograms, SHORT_BUCKETS};
use prometheus_client::encoding::EncodeLabelSet;
use tokio::time::Instant;

use crate::{
    Broker, BrokerError, Consumer, Delivery, Destination, Message, Queue, Subscription, Topic,
};

static SENT: LazyLock<Family<SentLabels, Counter>> = LazyLock::new(|| {
    let help = "Messages published, by destination and error";
    metrics::counters("messaging_client_sent_messages", help, [])
});

static CONSUMED: LazyLock<Family<ConsumedLabels, Counter>> = LazyLock::new(|| {
    let help = "Messages delivered to consumers of this process";
    metrics::counters("messaging_client_consumed_messages", help, [])
});

static PUBLISHED: LazyLock<Histograms<OperationLabels>> = LazyLock::new(|| {
    let help = "Time until the broker confirmed a batch of published messages";
    metrics::histograms("messaging_client_operation_duration", help, SHORT_BUCKETS)
});

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SentLabels {
    messaging_destination_name: &'static str,
    /// Empty on success.
    error_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConsumedLabels {
    messaging_destination_name: &'static str,
    redelivered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    messaging_operation_name: &'static str,
    messaging_destination_name: &'static str,
}

/// Decorates a broker with metrics.
pub(crate) struct Metered<B>(pub B);

#[async_trait]
impl<B: Broker> Broker for Metered<B> {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Vec<Result<(), BrokerError>> {
        let began = Instant::now();
        // The first recorded message is the exemplar of the batch.
        let exemplar = messages.iter().find_map(|one| Exemplar::from_trace_context(&one.trace));
        let results = self.0.publish(queue, messages).await;
        record_publish(Destination::from(queue).published(), began, &results, exemplar);
        results
    }

    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        let consumer = self.0.consume(queue, prefetch).await?;
        let messaging_destination_name = Destination::from(queue).consumed();
        let counter = |redelivered| {
            let labels = ConsumedLabels { messaging_destination_name, redelivered };
            CONSUMED.get_or_create_owned(&labels)
        };
        Ok(Box::new(MeteredConsumer { consumer, new: counter(false), again: counter(true) }))
    }

    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError> {
        let began = Instant::now();
        let exemplar = Exemplar::from_trace_context(&message.trace);
        let result = self.0.broadcast(topic, message).await;
        let results = std::slice::from_ref(&result);
        record_publish(Destination::from(topic).published(), began, results, exemplar);
        result
    }

    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError> {
        self.0.subscribe(topic).await
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.0.depth(queue).await
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.0.ping().await
    }

    fn is_durable(&self) -> bool {
        self.0.is_durable()
    }

    fn system(&self) -> &'static str {
        self.0.system()
    }
}

fn record_publish(
    to: &'static str,
    began: Instant,
    results: &[Result<(), BrokerError>],
    exemplar: Option<Exemplar>,
) {
    let add = |error_type, count: usize| {
        if count > 0 {
            let labels = SentLabels { messaging_destination_name: to, error_type };
            SENT.get_or_create(&labels).inc_by(count as u64);
        }
    };
    let failed = results.iter().filter_map(|result| result.as_ref().err());
    let refused = failed.clone().filter(|error| matches!(error, BrokerError::Refused(_))).count();
    let failed = failed.count();
    add("", results.len() - failed);
    add("refused", refused);
    add("unavailable", failed - refused);
    let labels =
        OperationLabels { messaging_operation_name: "publish", messaging_destination_name: to };
    PUBLISHED.observe(&labels, began.elapsed(), exemplar);
}

struct MeteredConsumer {
    consumer: Box<dyn Consumer>,
    new: Counter,
    again: Counter,
}

#[async_trait]
impl Consumer for MeteredConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.consumer.next().await?;
        let counter = if delivery.redelivered { &self.again } else { &self.new };
        counter.inc();
        Some(delivery)
    }

    async fn stop(&mut self) {
        self.consumer.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use miniapp_telemetry::metrics::{Format, encode};
    use uuid::Uuid;

    use super::*;
    use crate::MemoryBroker;

    #[tokio::test]
    async fn published_and_delivered_messages_are_counted() {
        let broker = Metered(MemoryBroker::new());
        let message = || Message::new(Uuid::new_v4(), &());
        broker.publish(Queue::Parked, vec![message(), message()]).await;
        let mut consumer = broker.consume(Queue::Parked, 1).await.expect("a consumer");
        consumer.next().await.expect("a message").release().await;
        consumer.next().await.expect("the message").ack().await;
        broker.0.pause();
        broker.publish(Queue::Parked, vec![message()]).await;

        let written = encode(Format::Prometheus).await.expect("written");
        for line in [
            "messaging_client_sent_messages_total{messaging_destination_name=\"parked\",\
             error_type=\"\"} 2",
            "messaging_client_sent_messages_total{messaging_destination_name=\"parked\",\
             error_type=\"unavailable\"} 1",
            "messaging_client_consumed_messages_total{messaging_destination_name=\"parked\",\
             redelivered=\"false\"} 1",
            "messaging_client_consumed_messages_total{messaging_destination_name=\"parked\",\
             redelivered=\"true\"} 1",
            "messaging_client_operation_duration_seconds_count{messaging_operation_name=\
             \"publish\",messaging_destination_name=\"parked\"} 2",
        ] {
            assert!(written.lines().any(|one| one == line), "{line}: {written}");
        }
    }
}
