//! Publishing with confirms.

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

use super::connection::LiveConnection;
use super::supervisor::Supervisor;
use super::topology::Route;
use super::{REQUEST_TIMEOUT, envelope, error};
use crate::{BrokerError, Message};

/// How many publishes may run concurrently, each on its own channel.
const MAX_IN_FLIGHT: usize = 16;
/// After this time without a confirm, on a connection that is not blocked, the server is
/// assumed to have lost it.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

type PublishResults = Vec<Result<(), BrokerError>>;

pub(super) struct Publisher {
    supervisor: Arc<Supervisor>,
    slots: Arc<Semaphore>,
}

impl Publisher {
    pub fn new(supervisor: Arc<Supervisor>) -> Self {
        Self { supervisor, slots: Arc::new(Semaphore::new(MAX_IN_FLIGHT)) }
    }

    /// Sends all messages and waits for their confirms. Returns one result per message, in
    /// their order.
    pub async fn publish(&self, route: Route, messages: Vec<Message>) -> PublishResults {
        let count = messages.len();
        if count == 0 {
            return Vec::new();
        }
        let error = match timeout(REQUEST_TIMEOUT, self.try_publish(route, messages)).await {
            Ok(Ok(results)) => return results,
            Ok(Err(error)) => error,
            Err(_) => BrokerError::Unavailable("no confirm in time".into()),
        };
        vec![Err(error); count]
    }

    async fn try_publish(
        &self,
        route: Route,
        messages: Vec<Message>,
    ) -> Result<PublishResults, BrokerError> {
        let live = self.supervisor.connection().await?;
        live.check_not_blocked()?;
        let permit = Arc::clone(&self.slots).acquire_owned().await;
        let permit = permit.map_err(|_| shutting_down())?;
        if let Some(work) = route.work_queue {
            let ensured = live.ensure_work_queue(work).await;
            ensured.map_err(|error| error::unavailable(&error))?;
        }
        let channel = live.confirm_channel().await.map_err(|error| error::unavailable(&error))?;
        // In a separate task: a channel can be reused only after its last confirm, even if the
        // caller has stopped waiting.
        let sent = tokio::spawn(send(Arc::clone(&live), channel, permit, route, messages));
        tokio::select! {
            results = sent => results.map_err(|_| shutting_down()),
            error = live.wait_blocked() => Err(error),
        }
    }
}

fn shutting_down() -> BrokerError {
    BrokerError::Unavailable("the process is shutting down".into())
}

async fn send(
    live: Arc<LiveConnection>,
    channel: Channel,
    _permit: OwnedSemaphorePermit,
    route: Route,
    messages: Vec<Message>,
) -> PublishResults {
    let work_queue = route.work_queue;
    let confirmed = send_all(&live, &channel, route, &messages).await;
    if confirmed.iter().all(Result::is_ok) {
        live.return_channel(channel);
    }
    let (results, is_unroutable) = collect(&messages, confirmed);
    match work_queue {
        // Declared again by the next attempt.
        Some(work) if is_unroutable => live.forget_work_queue(work),
        None if is_unroutable => live.redeclare().await,
        _ => {}
    }
    results
}

async fn send_all(
    live: &LiveConnection,
    channel: &Channel,
    route: Route,
    messages: &[Message],
) -> Vec<lapin::Result<Confirmation>> {
    let sends = messages.iter().map(|message| send_one(channel, &route, message));
    let mut sends = pin!(join_all(sends));
    loop {
        tokio::select! {
            confirmed = &mut sends => return confirmed,
            () = sleep(CONFIRM_TIMEOUT) => {
                if live.check_not_blocked().is_ok() {
                    tracing::warn!("RabbitMQ did not confirm messages in time; reconnecting");
                    live.abort();
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
    let Route { exchange, key, is_durable, .. } = route;
    let options = BasicPublishOptions { mandatory: *is_durable, ..BasicPublishOptions::default() };
    let properties = envelope::properties(message, *is_durable);
    let sent = channel.basic_publish(
        (*exchange).into(),
        (&**key).into(),
        options,
        &message.body,
        properties,
    );
    sent.await?.await
}

/// Returns the result of each message, and whether a queue or exchange is missing.
fn collect(
    messages: &[Message],
    confirmed: Vec<lapin::Result<Confirmation>>,
) -> (PublishResults, bool) {
    let mut is_unroutable = false;
    // lapin attaches a returned message to the next confirm, whichever that is. The message id
    // identifies it; nothing else is published on this channel meanwhile.
    let mut returned: HashMap<Uuid, String> = HashMap::new();
    let mut note = |back: Option<BasicReturnMessage>| {
        if let Some(back) = back {
            let id = envelope::id_of(&back.delivery.properties).unwrap_or_default();
            returned.insert(id, back.reply_text.to_string());
        }
    };
    let results: PublishResults = confirmed
        .into_iter()
        .map(|confirmed| match confirmed {
            Ok(Confirmation::Ack(back)) => {
                note(back);
                Ok(())
            }
            Ok(Confirmation::Nack(back)) => {
                note(back);
                Err(BrokerError::Refused("RabbitMQ could not store it".into()))
            }
            Ok(Confirmation::NotRequested) => {
                Err(BrokerError::Unavailable("the channel has no confirms".into()))
            }
            Err(error) => {
                is_unroutable |= error::is_missing(&error);
                Err(error::unavailable(&error))
            }
        })
        .collect();
    is_unroutable |= !returned.is_empty();
    let results =
        messages.iter().zip(results).map(|(message, result)| match returned.get(&message.id) {
            Some(reason) => Err(BrokerError::Refused(format!("no queue accepted it: {reason}"))),
            None => result,
        });
    (results.collect(), is_unroutable)
}
