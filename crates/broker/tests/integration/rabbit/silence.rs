//! A server that is silent, at any step of a connection.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use miniapp_broker::{Broker, BrokerError, Queue, Topic};
use miniapp_config::EngineUrl;
use miniapp_test_support::proxy::Proxy;
use miniapp_test_support::rabbit::Server;
use tokio::time::timeout;

use crate::rabbit::{message, messages, open, publish, shared, wait_available};

/// The number of responses until a connection is open: to the header of the protocol, the
/// credentials, the parameters, and some of the declarations.
const STEPS: u64 = 6;
/// The request timeout of the engine, with a margin for busy machines.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(8);
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a consumer may wait for messages of a server that is gone.
const LOSS_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns a proxy to an unused virtual host, and the URLs past it and through it.
async fn proxied(server: &Server) -> (Proxy, EngineUrl, EngineUrl) {
    let direct = server.host().await.unwrap();
    let at = format!("localhost:{}", server.port());
    assert!(direct.expose().contains(&at), "{direct}");
    let proxy = Proxy::to(at.clone(), 1).await.unwrap();
    let through = direct.expose().replace(&at, &proxy.address().to_string());
    (proxy, direct, EngineUrl::new(through))
}

async fn expect_timely_errors(broker: &impl Broker, case: &str) {
    let began = Instant::now();
    let (ping, publish, consume, subscribe) = tokio::join!(
        broker.ping(),
        broker.publish(Queue::Tasks, messages(1)),
        broker.consume(Queue::Tasks, 1),
        broker.subscribe(Topic::Sessions),
    );
    for error in [ping.err(), publish.into_iter().find_map(Result::err)] {
        assert!(matches!(error, Some(BrokerError::Unavailable(_))), "{case}: {error:?}");
    }
    assert!(consume.is_err() && subscribe.is_err(), "{case}");
    assert!(began.elapsed() < RESPONSE_TIMEOUT, "{case}: took {:?}", began.elapsed());
}

async fn expect_recovery(broker: &impl Broker, case: &str) {
    let began = Instant::now();
    while broker.ping().await.is_err() {
        assert!(began.elapsed() < RECOVERY_TIMEOUT, "{case}: no recovery");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(broker.publish(Queue::Tasks, messages(1)).await.iter().all(Result::is_ok), "{case}");
    println!("{case}: recovered after {:?}", began.elapsed());
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn silence_while_connecting_is_survived() {
    let (server, _access) = shared().await;
    join_all((0..=STEPS).map(async |step| {
        let case = format!("step {step}");
        let (proxy, _, url) = proxied(server).await;
        proxy.silence_after(step);
        let broker = open(&url);
        expect_timely_errors(&broker, &case).await;
        // What was held back never arrives.
        proxy.lose();
        proxy.heal();
        expect_recovery(&broker, &case).await;
        broker.consume(Queue::Tasks, 1).await.unwrap().next().await.unwrap().ack().await;
    }))
    .await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn silence_of_an_open_connection_is_survived() {
    let (server, _access) = shared().await;
    let (proxy, _, url) = proxied(server).await;
    let broker = open(&url);
    wait_available(&broker).await;
    proxy.silence_after(0);
    let ping = timeout(RESPONSE_TIMEOUT, broker.ping()).await.expect("in time");
    assert!(matches!(ping, Err(BrokerError::Unavailable(_))), "{ping:?}");
    proxy.lose();
    proxy.heal();
    expect_recovery(&broker, "an open connection").await;
}

/// Whatever the URL says.
#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn consumer_notices_that_its_server_is_gone() {
    let (server, _access) = shared().await;
    let check = async |query: &str| {
        let (proxy, direct, through) = proxied(server).await;
        let broker = open(&EngineUrl::new(format!("{}{query}", through.expose())));
        wait_available(&broker).await;
        let mut consumer = broker.consume(Queue::Tasks, 10).await.unwrap();
        proxy.lose();
        let began = Instant::now();
        let other = open(&direct);
        wait_available(&other).await;
        let sent = message(7);
        publish(&other, vec![sent.clone()]).await.unwrap();
        let delivery = timeout(LOSS_TIMEOUT, consumer.next()).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("{query}: not noticed")).unwrap();
        assert_eq!(delivery.message.id, sent.id);
        println!("{query:?}: noticed after {:?}", began.elapsed());
        delivery.ack().await;
    };
    tokio::join!(check(""), check("?heartbeat=0"), check("?heartbeat=600"));
}
