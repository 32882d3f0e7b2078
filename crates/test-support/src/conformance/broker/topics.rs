use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use miniapp_broker::{Broker, Message, Received, Subscription, Topic};
use uuid::Uuid;

use super::{QUIET, message, within};

async fn receive(subscription: &mut dyn Subscription) -> Result<Received> {
    within("an item", subscription.next()).await?.context("the subscription ended")
}

async fn receive_message(subscription: &mut dyn Subscription) -> Result<Message> {
    match receive(subscription).await? {
        Received::Message(message) => Ok(message),
        other => bail!("expected a message, got {other:?}"),
    }
}

pub async fn ping_succeeds(broker: Arc<dyn Broker>) -> Result<()> {
    Ok(broker.ping().await?)
}

pub async fn every_subscriber_receives_a_broadcast(broker: Arc<dyn Broker>) -> Result<()> {
    let mut first = broker.subscribe(Topic::TaskEvents).await?;
    let mut second = broker.subscribe(Topic::TaskEvents).await?;
    let sent = message(1).with_conversation(Uuid::new_v4());
    broker.broadcast(Topic::TaskEvents, sent.clone()).await?;
    for subscription in [&mut first, &mut second] {
        let received = receive_message(&mut **subscription).await?;
        ensure!(received.id == sent.id, "unexpected id");
        ensure!(received.conversation == sent.conversation, "unexpected conversation");
        ensure!(received.body == sent.body, "unexpected body");
    }
    Ok(())
}

pub async fn subscription_starts_with_new_messages(broker: Arc<dyn Broker>) -> Result<()> {
    broker.broadcast(Topic::Sessions, message(1)).await?;
    let mut subscription = broker.subscribe(Topic::Sessions).await?;
    let sent = message(2);
    broker.broadcast(Topic::Sessions, sent.clone()).await?;
    ensure!(
        receive_message(&mut *subscription).await?.id == sent.id,
        "received a message from before the subscription"
    );
    Ok(())
}

pub async fn topics_are_separate(broker: Arc<dyn Broker>) -> Result<()> {
    let mut subscription = broker.subscribe(Topic::TaskCancels).await?;
    broker.broadcast(Topic::Sessions, message(1)).await?;
    broker.broadcast(Topic::TaskEvents, message(2)).await?;
    let unexpected = tokio::time::timeout(QUIET, subscription.next()).await;
    ensure!(unexpected.is_err(), "received a message of another topic");
    Ok(())
}

/// A slow subscriber does not delay broadcasts, and misses messages only with a gap.
pub async fn slow_subscriber_receives_a_gap(broker: Arc<dyn Broker>) -> Result<()> {
    const COUNT: usize = 5_000;
    let mut subscription = broker.subscribe(Topic::TaskEvents).await?;
    let sent: Vec<Message> = (0..COUNT).map(message).collect();
    let broadcasts = async {
        for message in &sent {
            broker.broadcast(Topic::TaskEvents, message.clone()).await?;
        }
        anyhow::Ok(())
    };
    within("the broadcasts", broadcasts).await??;

    let mut missing: HashSet<Uuid> = sent.iter().map(|message| message.id).collect();
    while !missing.is_empty() {
        match receive(&mut *subscription).await? {
            Received::Message(message) => {
                missing.remove(&message.id);
            }
            Received::Gap => break,
            Received::Probe(number) => bail!("unexpected probe {number}"),
        }
    }
    let last = message(COUNT);
    broker.broadcast(Topic::TaskEvents, last.clone()).await?;
    loop {
        if let Received::Message(received) = receive(&mut *subscription).await?
            && received.id == last.id
        {
            return Ok(());
        }
    }
}

/// A probe returns after earlier messages, and only to its sender.
pub async fn probe_returns_after_earlier_messages(broker: Arc<dyn Broker>) -> Result<()> {
    let mut sender = broker.subscribe(Topic::Sessions).await?;
    let mut other = broker.subscribe(Topic::Sessions).await?;
    for number in 1..=5 {
        let sent = message(1);
        broker.broadcast(Topic::Sessions, sent.clone()).await?;
        sender.send_probe(number);
        ensure!(receive_message(&mut *sender).await?.id == sent.id, "unexpected message");
        let probe = receive(&mut *sender).await?;
        ensure!(
            matches!(probe, Received::Probe(received) if received == number),
            "expected the probe, got {probe:?}"
        );
        ensure!(receive_message(&mut *other).await?.id == sent.id, "unexpected message");
        // The next probe is dropped while this one is in flight.
        tokio::time::sleep(QUIET / 10).await;
    }
    Ok(())
}
