//! What is wrong with the server or the configuration is said in one clear line.

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use miniapp_broker::{Broker, BrokerError, Queue, RabbitBroker};
use miniapp_config::EngineUrl;
use miniapp_test_support::eventually;

use crate::rabbit::{alone, fault, message, open, publish, raw, shared, works};

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn wrong_credentials() {
    let (server, _access) = shared().await;
    let url = format!("amqp://guest:sesame@localhost:{}/", server.port());
    let fault = fault(&open(&EngineUrl::new(url))).await;
    assert!(fault.contains("refused us: ACCESS_REFUSED"), "{fault}");
    assert!(!fault.contains("sesame"), "{fault}");
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn an_unknown_virtual_host() {
    let (server, _access) = shared().await;
    let fault = fault(&open(&server.url("nowhere"))).await;
    assert!(fault.contains("refused us") && fault.contains("vhost nowhere not found"), "{fault}");
}

#[tokio::test]
async fn nobody_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let broker = open(&EngineUrl::new(format!("amqp://guest:sesame@127.0.0.1:{port}")));
    let fault = fault(&broker).await;
    let place = format!("can't connect to 127.0.0.1:{port} (MINIAPP__BROKER__URL): ");
    assert!(fault.contains(&place), "{fault}");
    assert!(fault.contains("refused"), "{fault}");

    for answer in broker.publish(Queue::Tasks, vec![message(1), message(2)]).await {
        assert!(matches!(answer, Err(BrokerError::Unavailable(_))), "{answer:?}");
    }
    assert!(broker.consume(Queue::Tasks, 1).await.is_err());
    assert!(broker.depth(Queue::Tasks).await.is_err());
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn plain_where_tls_is_spoken() {
    let (server, _access) = shared().await;
    let url = format!("amqp://guest:guest@localhost:{}/", server.tls_port());
    let fault = fault(&open(&EngineUrl::new(url))).await;
    assert!(fault.contains("has to begin with amqps://"), "{fault}");
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn tls_where_plain_is_spoken() {
    let (server, _access) = shared().await;
    let url = format!("amqps://guest:guest@localhost:{}/", server.port());
    let fault = fault(&open(&EngineUrl::new(url))).await;
    assert!(fault.contains("takes for a TLS port"), "{fault}");
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn a_certificate_of_strangers() {
    let (server, _access) = shared().await;
    let url = format!("amqps://guest:guest@localhost:{}/", server.tls_port());
    let fault = fault(&open(&EngineUrl::new(&url))).await;
    assert!(fault.contains("certificate"), "{fault}");

    let ca_file = Some(server.authority().display().to_string());
    let settings = miniapp_broker::BrokerConfig { url: EngineUrl::new(url), ca_file };
    open(&settings.address()).ping().await.unwrap();
}

#[tokio::test]
async fn a_url_that_is_none() {
    let error = RabbitBroker::open(&EngineUrl::new("amqp://guest:sesame@mq:port/")).err().unwrap();
    assert!(!error.to_string().contains("sesame"), "{error}");
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn a_queue_declared_otherwise() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let (_connection, channel) = raw(&url).await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("tasks".into(), options, FieldTable::default()).await.unwrap();

    let broker = open(&url);
    let fault = fault(&broker).await;
    assert!(fault.contains("otherwise than we need it"), "{fault}");
    assert!(fault.contains("PRECONDITION_FAILED - inequivalent arg"), "{fault}");
    assert!(fault.contains("for queue 'tasks'"), "{fault}");
    let answer = publish(&broker, vec![message(1)]).await;
    assert!(matches!(answer, Err(BrokerError::Unavailable(_))), "{answer:?}");

    // Once that is out of the way, all is well without a restart.
    channel.queue_delete("tasks".into(), QueueDeleteOptions::default()).await.unwrap();
    works(&broker).await;
    publish(&broker, vec![message(1)]).await.unwrap();
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn short_of_memory() {
    let (server, _access) = alone().await;
    let broker = open(&server.host().await.unwrap());
    publish(&broker, crate::rabbit::messages(3)).await.unwrap();
    let mut consumer = broker.consume(Queue::Tasks, 1).await.unwrap();
    let held = crate::rabbit::next(&mut *consumer).await;

    server.starve(true).await.unwrap();
    let publishing = async || publish(&broker, vec![message(9)]).await.err();
    let error = eventually("the alarm is heard", publishing).await;
    assert!(matches!(error, BrokerError::Unavailable(_)), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("blocked publishing"), "{error}");
    assert!(crate::rabbit::fault(&broker).await.contains("blocked publishing"));
    // What is there can still be worked off.
    held.ack().await;
    crate::rabbit::next(&mut *consumer).await.ack().await;
    crate::rabbit::next(&mut *consumer).await.ack().await;

    server.starve(false).await.unwrap();
    works(&broker).await;
    publish(&broker, vec![message(10)]).await.unwrap();
}
