//! What is owed is done at least once, whatever fails meanwhile.

use std::time::Duration;

use miniapp_accounts::mail::MailError;
use miniapp_broker::{Broker as _, Queue, Received, Topic};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::message::{AccountDeleted, SessionChanged};

use crate::support::{Platform, caller};

#[tokio::test]
async fn mail_waits_for_its_server_longer_and_longer() {
    let platform = Platform::new().await;
    platform.mailer.fail(MailError::Temporary("down".to_owned()));
    platform.send_code("ada@example.com").await;
    for attempt in 1..=3 {
        assert_eq!(platform.run_once().await, 1, "attempt {attempt}");
        assert_eq!(platform.run_once().await, 0, "attempt {attempt}");
        platform.clock.advance(Duration::from_secs(2 << attempt));
    }
    platform.mailer.work();
    assert_eq!(platform.run_once().await, 1);
    assert_eq!(platform.mailer.sent().len(), 1);
    platform.clock.advance(Duration::from_hours(1));
    assert_eq!(platform.run_once().await, 0);
}

#[tokio::test]
async fn mail_that_is_refused_or_late_is_given_up() {
    let platform = Platform::new().await;
    platform.mailer.fail(MailError::Permanent("no such user".to_owned()));
    platform.send_code("ada@example.com").await;
    assert_eq!(platform.run_once().await, 1);
    platform.mailer.work();
    platform.clock.advance(Duration::from_hours(1));
    assert_eq!(platform.run_once().await, 0);

    // A code whose time is over helps nobody.
    platform.send_code("bob@example.com").await;
    platform.clock.advance(Duration::from_mins(10));
    assert_eq!(platform.run_once().await, 1);
    assert_eq!(platform.mailer.sent().len(), 0);
    platform.clock.advance(Duration::from_hours(1));
    assert_eq!(platform.run_once().await, 0);
}

#[tokio::test]
async fn a_deletion_is_told_even_if_the_broker_is_away_at_first() {
    let platform = Platform::new().await;
    let account = platform.register("ada").await;
    let owner = platform.owner("ada").await;
    platform.broker.pause();
    platform.accounts.delete(&owner, &caller()).await.expect("deleted");
    assert_eq!(platform.run_once().await, 1);
    platform.broker.resume();
    platform.clock.advance(Duration::from_secs(2));
    assert_eq!(platform.run_once().await, 1);
    assert_eq!(platform.told_deletion().await, account.user_id);
}

#[tokio::test]
async fn news_of_sessions_wait_for_the_broker() {
    let platform = Platform::new().await;
    platform.register("ada").await;
    let mut news = platform.broker.subscribe(Topic::Sessions).await.expect("a subscription");
    platform.broker.pause();
    let owner = platform.owner("ada").await;
    platform.accounts.sign_out(&owner, &caller()).await.expect("signed out");
    platform.run_once().await;
    platform.broker.resume();
    platform.run_once().await;
    loop {
        let Received::Message(message) = news.next().await.expect("news") else { continue };
        let SessionChanged::V1 { session_id, epoch, .. } = message.decode().expect("a change");
        assert_eq!((session_id, epoch), (owner.session, None));
        break;
    }
}

#[tokio::test]
async fn a_broker_that_forgets_is_told_again_after_a_start() {
    let platform = Platform::new().await;
    let account = platform.register("ada").await;
    let owner = platform.owner("ada").await;
    platform.accounts.delete(&owner, &caller()).await.expect("deleted");
    platform.run_once().await;
    assert_eq!(platform.told_deletion().await, account.user_id);
    assert_eq!(platform.run_once().await, 0);

    let shutdown = Shutdown::new();
    let platform = platform.restart().await;
    let relay = tokio::spawn(platform.accounts.relay().run(shutdown.clone()));
    let mut consumer =
        platform.broker.consume(Queue::AccountDeletions, 1).await.expect("a consumer");
    let delivery = consumer.next().await.expect("a message");
    let AccountDeleted::V1 { user_id } = delivery.message.decode().expect("a deletion");
    assert_eq!(user_id, account.user_id);
    delivery.ack().await;
    shutdown.begin();
    relay.await.expect("an end");
}
