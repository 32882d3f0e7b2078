use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use miniapp_broker::{Broker, Message, Received, Subscription, Topic};
use uuid::Uuid;

use super::{QUIET, message, within};

async fn hear(subscription: &mut dyn Subscription) -> Result<Received> {
    within("news", subscription.next()).await?.context("the subscription ended")
}

async fn hear_message(subscription: &mut dyn Subscription) -> Result<Message> {
    match hear(subscription).await? {
        Received::Message(message) => Ok(message),
        other => bail!("{other:?} where only a message can be"),
    }
}

pub async fn answers_a_ping(broker: Arc<dyn Broker>) -> Result<()> {
    Ok(broker.ping().await?)
}

pub async fn tells_every_subscriber(broker: Arc<dyn Broker>) -> Result<()> {
    let mut first = broker.subscribe(Topic::TaskEvents).await?;
    let mut second = broker.subscribe(Topic::TaskEvents).await?;
    let sent = message(1).with_conversation(Uuid::new_v4());
    broker.broadcast(Topic::TaskEvents, sent.clone()).await?;
    for subscription in [&mut first, &mut second] {
        let heard = hear_message(&mut **subscription).await?;
        ensure!(heard.id == sent.id, "another id");
        ensure!(heard.conversation == sent.conversation, "another conversation");
        ensure!(heard.body == sent.body, "another body");
    }
    Ok(())
}

pub async fn tells_only_news(broker: Arc<dyn Broker>) -> Result<()> {
    broker.broadcast(Topic::Sessions, message(1)).await?;
    let mut subscription = broker.subscribe(Topic::Sessions).await?;
    let sent = message(2);
    broker.broadcast(Topic::Sessions, sent.clone()).await?;
    ensure!(hear_message(&mut *subscription).await?.id == sent.id, "heard what was before");
    Ok(())
}

pub async fn keeps_topics_apart(broker: Arc<dyn Broker>) -> Result<()> {
    let mut subscription = broker.subscribe(Topic::TaskCancels).await?;
    broker.broadcast(Topic::Sessions, message(1)).await?;
    broker.broadcast(Topic::TaskEvents, message(2)).await?;
    let surprise = tokio::time::timeout(QUIET, subscription.next()).await;
    ensure!(surprise.is_err(), "heard news of another topic");
    Ok(())
}

/// A subscriber that doesn't listen neither holds up the others nor misses anything
/// without being told.
pub async fn tells_of_a_gap(broker: Arc<dyn Broker>) -> Result<()> {
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
        match hear(&mut *subscription).await? {
            Received::Message(message) => {
                missing.remove(&message.id);
            }
            Received::Gap => break,
            Received::Probe(number) => bail!("the echo of a call that nobody made: {number}"),
        }
    }
    let last = message(COUNT);
    broker.broadcast(Topic::TaskEvents, last.clone()).await?;
    loop {
        if let Received::Message(heard) = hear(&mut *subscription).await?
            && heard.id == last.id
        {
            return Ok(());
        }
    }
}

/// A call comes back behind the news from before it, and to the caller alone.
pub async fn echoes_a_call(broker: Arc<dyn Broker>) -> Result<()> {
    let mut caller = broker.subscribe(Topic::Sessions).await?;
    let mut other = broker.subscribe(Topic::Sessions).await?;
    for number in 1..=5 {
        let sent = message(1);
        broker.broadcast(Topic::Sessions, sent.clone()).await?;
        caller.send_probe(number);
        ensure!(hear_message(&mut *caller).await?.id == sent.id, "other news");
        let echo = hear(&mut *caller).await?;
        ensure!(matches!(echo, Received::Probe(heard) if heard == number), "no echo but {echo:?}");
        ensure!(hear_message(&mut *other).await?.id == sent.id, "other news");
        // It may be a moment until the next one can go.
        tokio::time::sleep(QUIET / 10).await;
    }
    Ok(())
}
