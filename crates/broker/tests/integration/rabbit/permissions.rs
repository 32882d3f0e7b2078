//! Users with the permissions of a deployment.

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ExchangeKind};
use miniapp_broker::{Broker, Queue, RabbitBroker, Received, Topic};
use miniapp_config::EngineUrl;
use miniapp_test_support::eventually;
use miniapp_test_support::rabbit::Server;
use strum::IntoEnumIterator as _;
use tokio::sync::{Mutex, MutexGuard, RwLockReadGuard};

use crate::rabbit::{message, open, raw, shared, unavailable_reason, wait_available};

const DEFINITIONS: &str = "kustomize/components/rabbitmq/definitions.json";
const USERS: &str = "kustomize/overlays/dev/users.json";
const PASSWORD: &str = "for-development-only";
/// The virtual host of the definitions, which these tests share.
static HOST: Mutex<()> = Mutex::const_new(());

/// Creates everything from the files that are deployed.
async fn deployed() -> (&'static Server, impl Sized) {
    let (server, access) = shared().await;
    let guard = HOST.lock().await;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for file in [USERS, DEFINITIONS] {
        server.ctl(&["import_definitions", &format!("{root}/{file}")]).await.unwrap();
    }
    let guards: (RwLockReadGuard<'static, ()>, MutexGuard<'static, ()>) = (access, guard);
    (server, guards)
}

fn url(server: &Server, user: &str) -> EngineUrl {
    EngineUrl::new(format!("amqp://{user}:{PASSWORD}@localhost:{}/%2F", server.port()))
}

fn as_user(server: &Server, user: &str) -> RabbitBroker {
    open(&url(server, user))
}

async fn may_publish(broker: &RabbitBroker, queue: Queue) -> bool {
    broker.publish(queue, vec![message(1)]).await.remove(0).is_ok()
}

/// The definitions are what the code declares: a user who may declare does not find different
/// arguments, and one who may not finds everything.
#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn definitions_are_complete() {
    let (server, _guard) = deployed().await;
    for user in ["miniapp", "auth", "api", "worker"] {
        as_user(server, user).ping().await.unwrap();
    }
    assert!(server.ctl(&["list_queues"]).await.unwrap().contains("account-deletions"));
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn users_may_do_what_their_services_do() {
    let (server, _guard) = deployed().await;
    let [auth, api, worker] = ["auth", "api", "worker"].map(|user| as_user(server, user));
    let mut sessions = api.subscribe(Topic::Sessions).await.unwrap();
    let mut events = api.subscribe(Topic::TaskEvents).await.unwrap();
    let mut cancels = worker.subscribe(Topic::TaskCancels).await.unwrap();
    auth.broadcast(Topic::Sessions, message(1)).await.unwrap();
    worker.broadcast(Topic::TaskEvents, message(2)).await.unwrap();
    api.broadcast(Topic::TaskCancels, message(3)).await.unwrap();
    for subscription in [&mut sessions, &mut events, &mut cancels] {
        let received = subscription.next().await.unwrap();
        assert!(matches!(received, Received::Message(_)), "{received:?}");
    }
    sessions.send_probe(7);
    let received = sessions.next().await.unwrap();
    assert!(matches!(received, Received::Probe(7)), "{received:?}");

    assert!(may_publish(&auth, Queue::AccountDeletions).await);
    for publisher in [&api, &worker] {
        assert!(may_publish(publisher, Queue::Tasks).await);
    }
    // The dead letters return to their queues.
    for queue in [Queue::AccountDeletions, Queue::Tasks, Queue::Parked] {
        assert!(may_publish(&api, queue).await, "{queue:?}");
    }
    for (broker, queue, count) in
        [(&worker, Queue::Tasks, 3), (&api, Queue::AccountDeletions, 2), (&api, Queue::Parked, 1)]
    {
        let mut consumer = broker.consume(queue, 10).await.unwrap();
        for number in 0..count {
            let delivery = consumer.next().await.unwrap();
            // A rejected one becomes a dead letter.
            if number == 0 && queue != Queue::Parked {
                delivery.reject().await;
            } else {
                delivery.ack().await;
            }
        }
    }
    let mut dead_letters = api.consume(Queue::DeadLetters, 10).await.unwrap();
    for _ in 0..2 {
        dead_letters.next().await.unwrap().ack().await;
    }
    drop(dead_letters);
    eventually("all are settled", async || {
        let mut left = 0;
        for queue in Queue::iter() {
            left += api.depth(queue).await.unwrap();
        }
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn users_may_do_nothing_else() {
    let (server, _guard) = deployed().await;
    let [auth, api, worker] = ["auth", "api", "worker"].map(|user| as_user(server, user));
    for (broker, allowed) in [
        (&auth, &[Queue::AccountDeletions][..]),
        (&api, &Queue::iter().collect::<Vec<_>>()),
        (&worker, &[Queue::Tasks, Queue::DeadLetters]),
    ] {
        for queue in Queue::iter().filter(|queue| !allowed.contains(queue)) {
            assert!(!may_publish(broker, queue).await, "{queue:?}");
        }
    }
    for (broker, allowed) in
        [(&auth, &[][..]), (&api, &Queue::iter().collect::<Vec<_>>()), (&worker, &[Queue::Tasks])]
    {
        for queue in Queue::iter().filter(|queue| !allowed.contains(queue)) {
            assert!(broker.consume(queue, 1).await.is_err(), "{queue:?}");
        }
    }
    for (broker, topic) in [
        (&auth, Topic::TaskEvents),
        (&auth, Topic::TaskCancels),
        (&api, Topic::Sessions),
        (&worker, Topic::Sessions),
    ] {
        assert!(broker.broadcast(topic, message(1)).await.is_err(), "{topic:?}");
    }
    for (broker, topic) in [
        (&auth, Topic::Sessions),
        (&api, Topic::TaskCancels),
        (&worker, Topic::Sessions),
        (&worker, Topic::TaskEvents),
    ] {
        assert!(broker.subscribe(topic).await.is_err(), "{topic:?}");
    }
    for queue in Queue::iter() {
        assert_eq!(api.depth(queue).await.unwrap(), 0, "{queue:?}");
    }
}

/// Runs `attempt` as the worker's user and checks that the server refuses it.
async fn refuse<T: std::fmt::Debug>(
    connection: &Connection,
    what: &str,
    attempt: impl AsyncFnOnce(Channel) -> lapin::Result<T>,
) {
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let refused = attempt(channel).await.expect_err(what).to_string();
    assert!(refused.contains("ACCESS_REFUSED"), "{what}: {refused}");
}

/// The ways around the permissions of an exchange.
#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn worker_cannot_reach_account_deletions_in_other_ways() {
    let (server, _guard) = deployed().await;
    let (connection, _) = raw(&url(server, "worker")).await;
    for (exchange, key) in [("accounts", "deleted"), ("", "account-deletions"), ("probes", "x")] {
        refuse(&connection, exchange, async |channel| {
            let options = BasicPublishOptions::default();
            let properties = BasicProperties::default();
            channel
                .basic_publish(exchange.into(), key.into(), options, b"{}", properties)
                .await?
                .await
        })
        .await;
    }
    // Expired messages of a queue are published by the server.
    for dead_letters in ["accounts", ""] {
        refuse(&connection, "dead letters", async |channel| {
            let mut arguments = FieldTable::default();
            for (name, value) in
                [("x-dead-letter-exchange", dead_letters), ("x-dead-letter-routing-key", "deleted")]
            {
                arguments.insert(name.into(), AMQPValue::LongString(value.into()));
            }
            let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
            channel.queue_declare("".into(), options, arguments).await
        })
        .await;
    }
    refuse(&connection, "get", async |channel| {
        channel.basic_get("account-deletions".into(), BasicGetOptions::default()).await
    })
    .await;
    refuse(&connection, "delete", async |channel| {
        channel.queue_delete("tasks".into(), QueueDeleteOptions::default()).await
    })
    .await;
    refuse(&connection, "bind", async |channel| {
        let options = QueueBindOptions::default();
        let arguments = FieldTable::default();
        channel
            .queue_bind(
                "account-deletions".into(),
                "tasks".into(),
                "run".into(),
                options,
                arguments,
            )
            .await
    })
    .await;
    refuse(&connection, "declare", async |channel| {
        let options = ExchangeDeclareOptions::default();
        let arguments = FieldTable::default();
        channel.exchange_declare("mine".into(), ExchangeKind::Fanout, options, arguments).await
    })
    .await;
}

/// Work queues are created by the first process that uses them.
#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn services_create_work_queues() {
    let (server, _guard) = deployed().await;
    let [auth, api, worker] = ["auth", "api", "worker"].map(|user| as_user(server, user));
    let queue = |name: &str| Queue::of_tasks(&name.parse().unwrap(), None);
    assert!(!may_publish(&auth, queue("gpu")).await);
    assert!(may_publish(&api, queue("gpu")).await);
    let mut consumer = worker.consume(queue("gpu"), 1).await.unwrap();
    consumer.next().await.unwrap().reject().await;
    drop(consumer);
    let mut dead_letters = api.consume(Queue::DeadLetters, 1).await.unwrap();
    dead_letters.next().await.unwrap().ack().await;
    let mut consumer = worker.consume(queue("mail"), 1).await.unwrap();
    for publisher in [&api, &worker] {
        assert!(may_publish(publisher, queue("mail")).await);
        consumer.next().await.unwrap().ack().await;
    }
    drop((consumer, dead_letters));
    for name in ["gpu", "mail"] {
        server.ctl(&["delete_queue", &queue(name).name()]).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn missing_queue_is_reported_and_awaited() {
    let (server, _guard) = deployed().await;
    let owner = as_user(server, "miniapp");
    owner.ping().await.unwrap();
    server.ctl(&["delete_queue", "parked"]).await.unwrap();
    let broker = as_user(server, "api");
    let reason = unavailable_reason(&broker).await;
    assert!(reason.contains("this user may not declare it"), "{reason}");
    assert!(reason.contains("parked"), "{reason}");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    server.ctl(&["import_definitions", &format!("{root}/{DEFINITIONS}")]).await.unwrap();
    wait_available(&broker).await;
}
