//! Errors in the server or the configuration are reported in one clear line.

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use miniapp_broker::{Broker, BrokerError, Queue, RabbitBroker};
use miniapp_config::EngineUrl;
use miniapp_test_support::eventually;

use crate::rabbit::{
    exclusive, message, open, publish, raw, shared, unavailable_reason, wait_available,
};

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn wrong_credentials_are_reported() {
    let (server, _access) = shared().await;
    let url = format!("amqp://guest:sesame@localhost:{}/", server.port());
    let reason = unavailable_reason(&open(&EngineUrl::new(url))).await;
    assert!(reason.contains("rejected the connection: ACCESS_REFUSED"), "{reason}");
    assert!(!reason.contains("sesame"), "{reason}");
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn unknown_virtual_host_is_reported() {
    let (server, _access) = shared().await;
    let reason = unavailable_reason(&open(&server.url("nowhere"))).await;
    assert!(
        reason.contains("rejected the connection") && reason.contains("vhost nowhere not found"),
        "{reason}"
    );
}

#[tokio::test]
async fn unreachable_server_is_reported() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let broker = open(&EngineUrl::new(format!("amqp://guest:sesame@127.0.0.1:{port}")));
    let reason = unavailable_reason(&broker).await;
    let expected = format!("can't connect to 127.0.0.1:{port} (MINIAPP__BROKER__URL): ");
    assert!(reason.contains(&expected), "{reason}");
    assert!(reason.contains("refused"), "{reason}");

    for answer in broker.publish(Queue::Tasks, vec![message(1), message(2)]).await {
        assert!(matches!(answer, Err(BrokerError::Unavailable(_))), "{answer:?}");
    }
    assert!(broker.consume(Queue::Tasks, 1).await.is_err());
    assert!(broker.depth(Queue::Tasks).await.is_err());
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn plain_connection_to_a_tls_port_is_reported() {
    let (server, _access) = shared().await;
    let url = format!("amqp://guest:guest@localhost:{}/", server.tls_port());
    let reason = unavailable_reason(&open(&EngineUrl::new(url))).await;
    assert!(reason.contains("must begin with amqps://"), "{reason}");
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn tls_connection_to_a_plain_port_is_reported() {
    let (server, _access) = shared().await;
    let url = format!("amqps://guest:guest@localhost:{}/", server.port());
    let reason = unavailable_reason(&open(&EngineUrl::new(url))).await;
    assert!(reason.contains("needs a TLS port"), "{reason}");
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn untrusted_certificate_is_reported() {
    let (server, _access) = shared().await;
    let url = format!("amqps://guest:guest@localhost:{}/", server.tls_port());
    let reason = unavailable_reason(&open(&EngineUrl::new(&url))).await;
    assert!(reason.contains("certificate"), "{reason}");

    let ca_file = Some(server.authority().display().to_string());
    let settings = miniapp_broker::BrokerConfig { url: EngineUrl::new(url), ca_file };
    open(&settings.address()).ping().await.unwrap();
}

#[tokio::test]
async fn invalid_url_is_reported_without_the_password() {
    let error = RabbitBroker::open(&EngineUrl::new("amqp://guest:sesame@mq:port/")).err().unwrap();
    assert!(!error.to_string().contains("sesame"), "{error}");
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn queue_with_different_arguments_is_reported() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let (_connection, channel) = raw(&url).await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("tasks".into(), options, FieldTable::default()).await.unwrap();

    let broker = open(&url);
    let reason = unavailable_reason(&broker).await;
    assert!(reason.contains("with different arguments"), "{reason}");
    assert!(reason.contains("PRECONDITION_FAILED - inequivalent arg"), "{reason}");
    assert!(reason.contains("for queue 'tasks'"), "{reason}");
    let answer = publish(&broker, vec![message(1)]).await;
    assert!(matches!(answer, Err(BrokerError::Unavailable(_))), "{answer:?}");

    // Deleting the queue is enough; no restart is needed.
    channel.queue_delete("tasks".into(), QueueDeleteOptions::default()).await.unwrap();
    wait_available(&broker).await;
    publish(&broker, vec![message(1)]).await.unwrap();
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn memory_alarm_blocks_publishing_but_not_consuming() {
    let (server, _access) = exclusive().await;
    let broker = open(&server.host().await.unwrap());
    publish(&broker, crate::rabbit::messages(3)).await.unwrap();
    let mut consumer = broker.consume(Queue::Tasks, 1).await.unwrap();
    let held = crate::rabbit::next(&mut *consumer).await;

    server.starve(true).await.unwrap();
    let publishing = async || publish(&broker, vec![message(9)]).await.err();
    let error = eventually("publishing is blocked", publishing).await;
    assert!(matches!(error, BrokerError::Unavailable(_)), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("blocked publishing"), "{error}");
    assert!(crate::rabbit::unavailable_reason(&broker).await.contains("blocked publishing"));
    // Messages in the queue can still be consumed.
    held.ack().await;
    crate::rabbit::next(&mut *consumer).await.ack().await;
    crate::rabbit::next(&mut *consumer).await.ack().await;

    server.starve(false).await.unwrap();
    wait_available(&broker).await;
    publish(&broker, vec![message(10)]).await.unwrap();
}
