//! Giving messages to the server, and learning that it has them.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::link::Link;
use super::live::Live;
use super::topology::Route;
use super::{LIMIT, envelope, fault};
use crate::{BrokerError, Message};

/// How many publishes may be under way; each has a channel of its own meanwhile.
const UNDER_WAY: usize = 16;
/// A server that owes a confirmation for this long without having said that it takes no
/// messages never gives it.
const PATIENCE: Duration = Duration::from_secs(30);

type Answers = Vec<Result<(), BrokerError>>;

pub(super) struct Publisher {
    link: Arc<Link>,
    free: Arc<Semaphore>,
}

impl Publisher {
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, free: Arc::new(Semaphore::new(UNDER_WAY)) }
    }

    /// Sends all messages at once and waits for the confirmations; one answer a message,
    /// in their order.
    pub async fn publish(&self, route: Route, messages: Vec<Message>) -> Answers {
        let count = messages.len();
        if count == 0 {
            return Vec::new();
        }
        let error = match timeout(LIMIT, self.try_publish(route, messages)).await {
            Ok(Ok(answers)) => return answers,
            Ok(Err(error)) => error,
            Err(_) => BrokerError::Unavailable("no confirmation in time".into()),
        };
        vec![Err(error); count]
    }

    async fn try_publish(
        &self,
        route: Route,
        messages: Vec<Message>,
    ) -> Result<Answers, BrokerError> {
        let live = self.link.live().await?;
        live.takes_messages()?;
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let permit = permit.map_err(|_| BrokerError::Unavailable("closing".into()))?;
        let channel = live.channel().await.map_err(|error| fault::unavailable(&error))?;
        // In a task of its own: a channel may be used again only when nothing is owed on
        // it, whether or not somebody still waits for that.
        let sent = tokio::spawn(send(Arc::clone(&live), channel, permit, route, messages));
        tokio::select! {
            answers = sent => {
                answers.map_err(|_| BrokerError::Unavailable("the process is shutting down".into()))
            }
            error = live.takes_no_messages() => Err(error),
        }
    }
}

async fn send(
    live: Arc<Live>,
    channel: Channel,
    _permit: OwnedSemaphorePermit,
    route: Route,
    messages: Vec<Message>,
) -> Answers {
    let confirmed = send_all(&live, &channel, route, &messages).await;
    if confirmed.iter().all(Result::is_ok) {
        live.give_back(channel);
    }
    let (answers, is_astray) = settle(&messages, confirmed);
    if is_astray {
        live.restore().await;
    }
    answers
}

async fn send_all(
    live: &Live,
    channel: &Channel,
    route: Route,
    messages: &[Message],
) -> Vec<lapin::Result<Confirmation>> {
    let sends = messages.iter().map(|message| send_one(channel, &route, message));
    let mut sends = pin!(join_all(sends));
    loop {
        tokio::select! {
            confirmed = &mut sends => return confirmed,
            () = sleep(PATIENCE) => {
                if live.takes_messages().is_ok() {
                    tracing::warn!("RabbitMQ did not confirm messages in time; reconnecting");
                    live.hang_up();
                }
            }
        }
    }
}

async fn send_one(
    channel: &Channel,
    route: &Route,
    message: &Message,
) -> lapin::Result<Confirmation> {
    let Route { exchange, key, is_work } = route;
    let options = BasicPublishOptions { mandatory: *is_work, ..BasicPublishOptions::default() };
    let properties = envelope::properties(message, *is_work);
    let sent = channel.basic_publish(
        (*exchange).into(),
        (&**key).into(),
        options,
        &message.body,
        properties,
    );
    sent.await?.await
}

/// What became of each message, and whether queue or exchange are missing.
fn settle(messages: &[Message], confirmed: Vec<lapin::Result<Confirmation>>) -> (Answers, bool) {
    let mut is_astray = false;
    // The client hangs a returned message on whichever confirmation comes next, so its id
    // says whose it is. Nobody else publishes on this channel meanwhile.
    let mut returned: HashMap<Uuid, String> = HashMap::new();
    let mut note = |back: Option<BasicReturnMessage>| {
        if let Some(back) = back {
            let id = envelope::id_of(&back.delivery.properties).unwrap_or_default();
            returned.insert(id, back.reply_text.to_string());
        }
    };
    let answers: Answers = confirmed
        .into_iter()
        .map(|confirmed| match confirmed {
            Ok(Confirmation::Ack(back)) => {
                note(back);
                Ok(())
            }
            Ok(Confirmation::Nack(back)) => {
                note(back);
                Err(BrokerError::Refused("RabbitMQ could not keep it".into()))
            }
            Ok(Confirmation::NotRequested) => {
                Err(BrokerError::Unavailable("the channel has no confirms".into()))
            }
            Err(error) => {
                is_astray |= fault::is_missing(&error);
                Err(fault::unavailable(&error))
            }
        })
        .collect();
    is_astray |= !returned.is_empty();
    let answers =
        messages.iter().zip(answers).map(|(message, answer)| match returned.get(&message.id) {
            Some(reason) => Err(BrokerError::Refused(format!("no queue took it: {reason}"))),
            None => answer,
        });
    (answers.collect(), is_astray)
}
