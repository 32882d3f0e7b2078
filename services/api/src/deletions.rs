//! Deletes the tasks of deleted accounts.

use std::convert::Infallible;
use std::time::Duration;

use miniapp_broker::spans::ProcessSpan;
use miniapp_broker::{Broker, Delivery, Queue};
use miniapp_runtime::retry::RetryLogger;
use miniapp_tasks::Tasks;
use miniapp_token::EventError;
use miniapp_types::message::AccountDeleted;
use moka::sync::Cache;
use tokio::time::sleep;
use tracing::{Instrument as _, Span, info_span};
use uuid::Uuid;

use crate::PROGRAM;
use crate::token::{EventOutcome, TokenVerifier, VerifyEventError, record_event};

/// In metrics.
const EVENT: &str = "account_deleted";
const PREFETCH: u16 = 4;
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Number of processed messages that are recognized when they are sent again.
const PROCESSED_CAPACITY: u64 = 16 * 1024;

/// The consumer of account deletions.
pub(crate) struct Deletions {
    tasks: Tasks,
    verifier: TokenVerifier,
    accepts_unverified: bool,
    /// The ids of processed messages.
    processed: Cache<Uuid, ()>,
}

impl Deletions {
    /// `accepts_unverified`: deletes tasks even if auth did not sign the message.
    pub fn new(tasks: Tasks, verifier: TokenVerifier, accepts_unverified: bool) -> Self {
        let processed = Cache::new(PROCESSED_CAPACITY);
        Self { tasks, verifier, accepts_unverified, processed }
    }

    /// Consumes account deletions until it is dropped.
    pub async fn run(&self, broker: &dyn Broker) -> Infallible {
        let mut retry_log = RetryLogger::new("consuming account deletions");
        loop {
            match broker.consume(Queue::AccountDeletions, PREFETCH).await {
                Ok(mut consumer) => {
                    retry_log.recovered();
                    while let Some(delivery) = consumer.next().await {
                        let process_span = start_process_span(broker, &delivery);
                        let span = deletion_span(process_span.as_ref());
                        self.process(broker, delivery).instrument(span).await;
                        if let Some(process_span) = process_span {
                            process_span.end(|span| span);
                        }
                    }
                }
                Err(error) => retry_log.failed(&error),
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Acknowledges the message after the last task is deleted. Retries errors while it holds
    /// the message, because the broker dead-letters messages that are released too often.
    async fn process(&self, broker: &dyn Broker, delivery: Delivery) {
        let id = delivery.message.id;
        let event = match delivery.message.decode::<AccountDeleted>() {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(
                    %error,
                    message.id = %id,
                    "rejected a message that could not be decoded"
                );
                return delivery.reject().await;
            }
        };
        let AccountDeleted::V1 { user_id: user, .. } = event;
        let outcome = match self.verify(&delivery, &event).await {
            Ok(()) => EventOutcome::Verified,
            Err(error) if self.accepts_unverified && error != EventError::Forged => {
                tracing::warn!(
                    %error,
                    message.id = %id,
                    user.id = %user,
                    "accepted an account deletion that is not verified"
                );
                EventOutcome::AcceptedUnverified
            }
            Err(error) => {
                record_event(EVENT, error.into());
                return park(broker, delivery, user, error).await;
            }
        };
        if self.processed.contains_key(&id) {
            // The broker redelivers a message after a lost acknowledgment. Nothing is left to delete.
            if !delivery.redelivered {
                tracing::warn!(
                    message.id = %id,
                    user.id = %user,
                    "refused a repeated account deletion"
                );
                record_event(EVENT, EventOutcome::Replayed);
            }
            return delivery.ack().await;
        }
        record_event(EVENT, outcome);
        let mut retry_log = RetryLogger::new("deleting the tasks of a deleted account");
        while let Err(error) = self.tasks.delete_all(user).await {
            retry_log.failed(&error);
            sleep(RETRY_DELAY).await;
        }
        tracing::info!(user.id = %user, "deleted the tasks of a deleted account");
        self.processed.insert(id, ());
        delivery.ack().await;
    }

    /// Checks that auth has signed the event. Waits while auth is unreachable.
    async fn verify(&self, delivery: &Delivery, event: &AccountDeleted) -> Result<(), EventError> {
        let mut retry_log = RetryLogger::new("verifying an account deletion");
        loop {
            match self.verifier.verify_event(&delivery.message, event).await {
                Ok(()) => return Ok(()),
                Err(VerifyEventError::Refused(error)) => return Err(error),
                Err(error) => retry_log.failed(&error),
            }
            sleep(RETRY_DELAY).await;
        }
    }
}

fn start_process_span(broker: &dyn Broker, delivery: &Delivery) -> Option<ProcessSpan> {
    ProcessSpan::of_delivery(PROGRAM.name, broker.system(), Queue::AccountDeletions, delivery)
}

/// Returns the parent of the spans of each task.
fn deletion_span(process_span: Option<&ProcessSpan>) -> Span {
    let Some(process_span) = process_span else { return Span::none() };
    let span = info_span!("remove tasks", service.name = PROGRAM.name);
    process_span.handle().set_as_parent_of(&span);
    span
}

/// Keeps a refused message for operators, and for a process that accepts it.
async fn park(broker: &dyn Broker, delivery: Delivery, user: Uuid, error: EventError) {
    let message = delivery.message.clone();
    let id = message.id;
    let parked = broker.publish(Queue::Parked, vec![message]).await.into_iter().collect();
    if let Err::<(), _>(failure) = parked {
        tracing::warn!(error = %failure, message.id = %id, "could not park a message; retrying");
        sleep(RETRY_DELAY).await;
        return delivery.release().await;
    }
    tracing::error!(
        %error,
        message.id = %id,
        user.id = %user,
        "refused an account deletion and parked it"
    );
    delivery.ack().await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use miniapp_broker::{Broker, Message, Queue};
    use miniapp_runtime::shutdown::Shutdown;
    use miniapp_tasks::Tasks;
    use miniapp_types::message::AccountDeleted;
    use uuid::Uuid;

    use crate::service::spawn_background;
    use crate::testing::{FakeAuth, Platform, eventually};

    /// Publishes a message.
    async fn publish(platform: &Platform, message: Message) {
        for published in platform.broker.publish(Queue::AccountDeletions, vec![message]).await {
            published.expect("published");
        }
    }

    async fn until_depth(platform: &Platform, queue: Queue, depth: u64) {
        eventually(&format!("{queue:?} has {depth} messages"), async || {
            platform.broker.depth(queue).await.expect("a broker") == depth
        })
        .await;
    }

    async fn exists(tasks: &Tasks, user: Uuid, task: Uuid) -> bool {
        tasks.get(user, task).await.expect("a store").is_some()
    }

    async fn until_gone(platform: &Platform, user: Uuid, task: Uuid) {
        let is_gone = async || !exists(&platform.tasks, user, task).await;
        eventually("the task is deleted", is_gone).await;
    }

    fn unsigned(user_id: Uuid) -> Message {
        Message::new(Uuid::new_v4(), &AccountDeleted::V1 { user_id, signature: None })
    }

    #[tokio::test]
    async fn deleted_account_loses_its_tasks() {
        let platform = Platform::start().await;
        let (gone, stays) = (platform.auth.sign_in(), platform.auth.sign_in());
        let mut theirs = Vec::new();
        for _ in 0..3 {
            theirs.push(platform.submit(&gone).await);
        }
        let kept = platform.submit(&stays).await;
        let unreadable = Message { body: Bytes::from_static(b"?"), ..unsigned(Uuid::nil()) };
        let messages =
            vec![unreadable, platform.auth.deleted(gone.user), platform.auth.deleted(gone.user)];
        let published = platform.broker.publish(Queue::AccountDeletions, messages).await;
        assert!(published.iter().all(Result::is_ok));
        eventually("the tasks are deleted", async || {
            let mut left = false;
            for id in &theirs {
                left |= platform.tasks.get(gone.user, *id).await.expect("a store").is_some();
            }
            !left && platform.broker.depth(Queue::AccountDeletions).await.expect("a broker") == 0
        })
        .await;
        assert!(platform.tasks.get(stays.user, kept).await.expect("a store").is_some());
    }

    #[tokio::test]
    async fn forged_deletion_is_parked_and_deletes_nothing() {
        let platform = Platform::start().await;
        let (victim, other) = (platform.auth.sign_in(), platform.auth.sign_in());
        let task = platform.submit(&victim).await;
        let genuine = platform.auth.deleted(other.user);
        let AccountDeleted::V1 { signature, .. } = genuine.decode().expect("an event");
        let copied = AccountDeleted::V1 { user_id: victim.user, signature };
        let token = AccountDeleted::V1 { user_id: victim.user, signature: Some(victim.text) };
        let forged = [
            unsigned(victim.user),
            // The signature of another account's deletion, in the same message and in another.
            Message::new(genuine.id, &copied),
            Message::new(Uuid::new_v4(), &copied),
            // An access token instead of a signature.
            Message::new(Uuid::new_v4(), &token),
            // A key that auth does not publish.
            FakeAuth::deleted_signed_by(9, victim.user),
            // A genuine signature in another message.
            Message { id: Uuid::new_v4(), ..platform.auth.deleted(victim.user) },
        ];
        let count = forged.len() as u64;
        for message in forged {
            publish(&platform, message).await;
        }
        until_depth(&platform, Queue::Parked, count).await;
        // The genuine one is processed after them.
        let theirs = platform.submit(&other).await;
        publish(&platform, genuine).await;
        until_gone(&platform, other.user, theirs).await;
        assert!(exists(&platform.tasks, victim.user, task).await);
    }

    /// As after a key was compromised: the new one signs at once.
    #[tokio::test]
    async fn deletion_with_a_key_newer_than_the_latest_fetch_is_accepted() {
        let platform = Platform::start().await;
        let user = platform.auth.sign_in();
        let task = platform.submit(&user).await;
        platform.auth.rotate(2, false);
        publish(&platform, platform.auth.deleted(user.user)).await;
        until_gone(&platform, user.user, task).await;
        assert_eq!(platform.broker.depth(Queue::Parked).await.expect("a broker"), 0);
    }

    /// As after an outage of the API that was longer than the key of auth is published.
    #[tokio::test]
    async fn events_of_a_retired_key_do_not_delay_others() {
        let platform = Platform::start().await;
        let user = platform.auth.sign_in();
        let task = platform.submit(&user).await;
        for _ in 0..60 {
            publish(&platform, FakeAuth::deleted_signed_by(9, Uuid::new_v4())).await;
        }
        publish(&platform, platform.auth.deleted(user.user)).await;
        // Sixty waits for the key would exceed the limit of `eventually`.
        until_gone(&platform, user.user, task).await;
        until_depth(&platform, Queue::Parked, 60).await;
    }

    /// As after a restore in which the account exists again.
    #[tokio::test]
    async fn repeated_deletion_deletes_nothing() {
        let platform = Platform::start().await;
        let (restored, other) = (platform.auth.sign_in(), platform.auth.sign_in());
        let task = platform.submit(&restored).await;
        let deleted = platform.auth.deleted(restored.user);
        publish(&platform, deleted.clone()).await;
        until_gone(&platform, restored.user, task).await;
        let kept = platform.submit(&restored).await;
        publish(&platform, deleted).await;
        let task = platform.submit(&other).await;
        publish(&platform, platform.auth.deleted(other.user)).await;
        until_gone(&platform, other.user, task).await;
        assert!(exists(&platform.tasks, restored.user, kept).await);
    }

    #[tokio::test]
    async fn unverified_deletion_is_accepted_if_configured() {
        let platform = Platform::start().await;
        let user = platform.auth.sign_in();
        let task = platform.submit(&user).await;
        publish(&platform, unsigned(user.user)).await;
        until_depth(&platform, Queue::Parked, 1).await;
        assert!(exists(&platform.tasks, user.user, task).await);
        // A start with the setting reads the parked message again.
        let Platform { api, broker, .. } = &platform;
        let broker: Arc<dyn Broker> = broker.clone();
        platform.stop_background().await;
        let _background = spawn_background(api, &broker, true, &Shutdown::new());
        until_gone(&platform, user.user, task).await;
        until_depth(&platform, Queue::Parked, 0).await;
    }
}
