//! Outbox messages are delivered at least once, despite failures.

use std::collections::HashSet;
use std::time::Duration;

use miniapp_accounts::mail::MailError;
use miniapp_broker::{Broker as _, Queue, Received, Topic};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::account::{CreateApiKey, Scope};
use miniapp_types::message::{AccountDeleted, SessionChanged};

use crate::support::{Platform, caller};

#[tokio::test]
async fn mail_is_retried_with_backoff() {
    let platform = Platform::new().await;
    platform.mailer.fail(MailError::Temporary("down".to_owned()));
    platform.send_code("ada@example.com").await;
    for attempt in 1..=3 {
        assert_eq!(platform.run_once().await, 1, "attempt {attempt}");
        assert_eq!(platform.run_once().await, 0, "attempt {attempt}");
        platform.clock.advance(Duration::from_secs(2 << attempt));
    }
    platform.mailer.recover();
    assert_eq!(platform.run_once().await, 1);
    assert_eq!(platform.mailer.sent().len(), 1);
    platform.clock.advance(Duration::from_hours(1));
    assert_eq!(platform.run_once().await, 0);
}

#[tokio::test]
async fn rejected_or_expired_mail_is_abandoned() {
    let platform = Platform::new().await;
    platform.mailer.fail(MailError::Permanent("no such user".to_owned()));
    platform.send_code("ada@example.com").await;
    assert_eq!(platform.run_once().await, 1);
    platform.mailer.recover();
    platform.clock.advance(Duration::from_hours(1));
    assert_eq!(platform.run_once().await, 0);

    // An expired code is not sent.
    platform.send_code("bob@example.com").await;
    platform.clock.advance(Duration::from_mins(10));
    assert_eq!(platform.run_once().await, 1);
    assert_eq!(platform.mailer.sent().len(), 0);
    platform.clock.advance(Duration::from_hours(1));
    assert_eq!(platform.run_once().await, 0);
}

#[tokio::test]
async fn silent_mail_server_does_not_delay_events() {
    let platform = Platform::new().await;
    let account = platform.register("ada").await;
    let owner = platform.owner("ada").await;
    platform.mailer.silence();
    // More than are sent at a time.
    for number in 0..30 {
        platform.send_code(&format!("user{number}@example.com")).await;
    }
    let shutdown = Shutdown::new();
    let relay = tokio::spawn(platform.accounts.relay().run(shutdown.clone()));
    platform.accounts.delete(&owner, &caller()).await.expect("deleted");
    let next = tokio::time::timeout(Duration::from_secs(25), platform.next_deletion());
    assert_eq!(next.await.expect("not delayed by mails"), account.user_id);
    relay.abort();
}

#[tokio::test]
async fn account_deletion_is_published_after_broker_outage() {
    let platform = Platform::new().await;
    let account = platform.register("ada").await;
    let owner = platform.owner("ada").await;
    platform.broker.pause();
    platform.accounts.delete(&owner, &caller()).await.expect("deleted");
    // The event and the mail, which is sent.
    assert_eq!(platform.run_once().await, 2);
    platform.broker.resume();
    platform.clock.advance(Duration::from_secs(2));
    assert_eq!(platform.run_once().await, 1);
    assert_eq!(platform.next_deletion().await, account.user_id);
}

#[tokio::test]
async fn session_events_are_published_after_broker_outage() {
    let platform = Platform::new().await;
    platform.register("ada").await;
    let mut events = platform.broker.subscribe(Topic::Sessions).await.expect("a subscription");
    platform.broker.pause();
    let owner = platform.owner("ada").await;
    platform.accounts.sign_out(&owner, &caller()).await.expect("signed out");
    platform.run_once().await;
    platform.broker.resume();
    platform.run_once().await;
    loop {
        let Received::Message(message) = events.next().await.expect("an event") else { continue };
        let SessionChanged::V1 { session_id, epoch, .. } = message.decode().expect("a change");
        assert_eq!((session_id, epoch), (owner.session, None));
        break;
    }
}

#[tokio::test]
async fn ends_are_published_after_a_crash() {
    let platform = Platform::new().await;
    platform.register("ada").await;
    let owner = platform.owner("ada").await;
    let request =
        CreateApiKey { name: "key".to_owned(), scopes: vec![Scope::TasksRead], expires_at: None };
    let created = platform.accounts.create_api_key(&owner, request, &caller()).await;
    let key = created.expect("created").api_key.id;
    platform.broker.pause();
    platform.accounts.revoke_api_key(&owner, key, &caller()).await.expect("revoked");
    platform.accounts.sign_out(&owner, &caller()).await.expect("signed out");
    // What the process has not published yet is lost.
    let platform = platform.restart().await;
    let mut events = platform.broker.subscribe(Topic::Sessions).await.expect("a subscription");
    while platform.run_once().await > 0 {}
    let mut expected = HashSet::from([key, owner.session]);
    while !expected.is_empty() {
        let Received::Message(message) = events.next().await.expect("an event") else { continue };
        let SessionChanged::V1 { session_id, epoch, .. } = message.decode().expect("a change");
        assert_eq!(epoch, None, "{session_id}");
        expected.remove(&session_id);
    }
}

#[tokio::test]
async fn deletions_are_republished_to_non_durable_broker_after_restart() {
    let platform = Platform::new().await;
    let account = platform.register("ada").await;
    let owner = platform.owner("ada").await;
    platform.accounts.delete(&owner, &caller()).await.expect("deleted");
    platform.run_once().await;
    assert_eq!(platform.next_deletion().await, account.user_id);
    assert_eq!(platform.run_once().await, 0);

    let shutdown = Shutdown::new();
    let platform = platform.restart().await;
    let relay = tokio::spawn(platform.accounts.relay().run(shutdown.clone()));
    let mut consumer =
        platform.broker.consume(Queue::AccountDeletions, 1).await.expect("a consumer");
    let delivery = consumer.next().await.expect("a message");
    let AccountDeleted::V1 { user_id, .. } = delivery.message.decode().expect("a deletion");
    assert_eq!(user_id, account.user_id);
    delivery.ack().await;
    shutdown.begin();
    relay.await.expect("an end");
}
