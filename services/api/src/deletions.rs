//! Deletes the tasks of deleted accounts.

use std::convert::Infallible;
use std::time::Duration;

use miniapp_broker::spans::ProcessSpan;
use miniapp_broker::{Broker, Delivery, Queue};
use miniapp_runtime::retry::RetryLogger;
use miniapp_tasks::Tasks;
use miniapp_types::message::AccountDeleted;
use tokio::time::sleep;
use tracing::{Instrument as _, Span, info_span};

use crate::PROGRAM;

const PREFETCH: u16 = 4;
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Consumes account deletions until it is dropped.
pub(crate) async fn run(tasks: &Tasks, broker: &dyn Broker) -> Infallible {
    let mut retry_log = RetryLogger::new("consuming account deletions");
    loop {
        match broker.consume(Queue::AccountDeletions, PREFETCH).await {
            Ok(mut consumer) => {
                retry_log.recovered();
                while let Some(delivery) = consumer.next().await {
                    let process_span = start_process_span(broker, &delivery);
                    let span = deletion_span(process_span.as_ref());
                    process(tasks, delivery).instrument(span).await;
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

/// Acknowledges the message after the last task is deleted. Retries errors while it holds the
/// message, because the broker dead-letters messages that are released too often.
async fn process(tasks: &Tasks, delivery: Delivery) {
    let user = match delivery.message.decode::<AccountDeleted>() {
        Ok(AccountDeleted::V1 { user_id }) => user_id,
        Err(error) => {
            let id = delivery.message.id;
            tracing::warn!(message.id = %id, %error, "rejected a message that could not be decoded");
            return delivery.reject().await;
        }
    };
    let mut retry_log = RetryLogger::new("deleting the tasks of a deleted account");
    while let Err(error) = tasks.delete_all(user).await {
        retry_log.failed(&error);
        sleep(RETRY_DELAY).await;
    }
    tracing::info!(user.id = %user, "deleted the tasks of a deleted account");
    delivery.ack().await;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use miniapp_broker::{Broker as _, Message, Queue};
    use miniapp_types::message::AccountDeleted;
    use uuid::Uuid;

    use crate::testing::{Platform, eventually};

    #[tokio::test]
    async fn deleted_account_loses_its_tasks() {
        let platform = Platform::start().await;
        let (gone, stays) = (platform.auth.sign_in(), platform.auth.sign_in());
        let mut theirs = Vec::new();
        for _ in 0..3 {
            theirs.push(platform.submit(&gone).await);
        }
        let kept = platform.submit(&stays).await;
        let unreadable = Message { body: Bytes::from_static(b"?"), ..deleted(Uuid::nil()) };
        let messages = vec![unreadable, deleted(gone.user), deleted(gone.user)];
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

    fn deleted(user_id: Uuid) -> Message {
        Message::new(Uuid::new_v4(), &AccountDeleted::V1 { user_id })
    }
}
