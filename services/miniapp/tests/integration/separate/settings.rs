//! Settings that do not match the server: each service logs one line that names the setting, waits,
//! and continues when the server is corrected.

use std::collections::HashMap;
use std::time::Duration;

use miniapp_test_support::certificate::Certificate;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::{Program, Separate};
use miniapp_test_support::postgres::Server;
use serde_json::{Value, json};

use crate::separate::support::{expect_all_unready, expect_all_working, shared};

const DATABASE: &str = "MINIAPP__DATABASE__URL";
const BROKER: &str = "MINIAPP__BROKER__URL";
const SECRET: &str = "s3cr3t";
/// How long waiting services are observed. They retry a few times during it.
const WATCHED: Duration = Duration::from_secs(3);

/// Starts services with `wrong` settings, until `mend` corrects the server.
async fn wait_until_mended(
    program: &Program,
    setting: &str,
    wrong: &str,
    mend: impl AsyncFnOnce(&mut Separate),
) {
    let mut platform = Separate::launch(program, 1, 1);
    expect_all_unready(&mut platform, setting, wrong).await;
    tokio::time::sleep(WATCHED).await;
    platform.services().for_each(|service| repeats_nothing(&service.log()));
    mend(&mut platform).await;
    expect_all_working(&mut platform).await;
    for service in platform.services() {
        let log = service.log();
        assert!(!log.contains(SECRET), "{log}");
    }
}

/// A repeated failure is logged once, and again after a different failure.
fn repeats_nothing(log: &str) {
    let mut counts = HashMap::new();
    for line in log.lines() {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        line.as_object_mut().expect("fields").remove("timestamp");
        *counts.entry(line.to_string()).or_insert(0) += 1;
    }
    assert!(counts.values().all(|times| *times <= 2), "{counts:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn wrong_database_password_is_reported() {
    let broker = shared().await;
    let server = Server::alone(&[]).await;
    let statements =
        ["CREATE ROLE app LOGIN PASSWORD 'the old one'", "CREATE DATABASE d OWNER app"];
    for statement in statements {
        server.execute("postgres", statement).await.expect("the command succeeds");
    }
    let url = format!("postgres://app:{SECRET}@127.0.0.1:{}/d", server.port());
    let program = broker.program().set("database.url", url);
    wait_until_mended(&program, DATABASE, "password authentication failed", async |_| {
        let password = format!("ALTER ROLE app PASSWORD '{SECRET}'");
        server.execute("postgres", &password).await.expect("the command succeeds");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn missing_database_is_reported() {
    let broker = shared().await;
    let server = Server::alone(&[]).await;
    let program = broker.program().set("database.url", server.url("later").expose());
    wait_until_mended(&program, DATABASE, "does not exist", async |_| {
        server.execute("postgres", "CREATE DATABASE later").await.expect("the command succeeds");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn missing_tls_of_database_is_reported() {
    let broker = shared().await;
    let server = Server::alone(&[]).await;
    let url = server.database().await.expect("a database");
    let url = format!("{}?sslmode=require", url.expose());
    let program = broker.program().set("database.url", url);
    wait_until_mended(&program, DATABASE, "TLS", async |_| {
        let certificate = Certificate::for_localhost().expect("a certificate");
        server.want_tls(&certificate).await.expect("the command succeeds");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn wrong_broker_password_is_reported() {
    let broker = shared().await;
    let (_, host) = broker.url.rest().rsplit_once('/').expect("a virtual host");
    let user = format!("app-{host}");
    broker.server.ctl(&["add_user", &user, "the old one"]).await.expect("the command succeeds");
    let may = ["set_permissions", "-p", host, &user, ".*", ".*", ".*"];
    broker.server.ctl(&may).await.expect("the command succeeds");
    let url = format!("amqp://{user}:{SECRET}@localhost:{}/{host}", broker.server.port());
    let program = broker.program().set("broker.url", url);
    wait_until_mended(&program, BROKER, "ACCESS_REFUSED", async |_| {
        broker.server.ctl(&["change_password", &user, SECRET]).await.expect("the command succeeds");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn missing_virtual_host_is_reported() {
    let broker = shared().await;
    let program = broker.program().set("broker.url", broker.server.url("later").expose());
    wait_until_mended(&program, BROKER, "vhost later not found", async |_| {
        broker.server.ctl(&["add_vhost", "later"]).await.expect("the command succeeds");
        let may = ["set_permissions", "-p", "later", "guest", ".*", ".*", ".*"];
        broker.server.ctl(&may).await.expect("the command succeeds");
    })
    .await;
}

/// The server can't be corrected here, so the setting has to change.
#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn missing_tls_of_broker_is_reported() {
    let broker = shared().await;
    let right = broker.url.expose();
    let wrong = right.replace("amqp://", "amqps://");
    let program = broker.program().set("broker.url", wrong);
    wait_until_mended(&program, BROKER, "needs a TLS port", async |platform| {
        for service in platform.services() {
            service.replace(|program| program.set("broker.url", right)).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn queue_with_other_arguments_is_reported() {
    let broker = shared().await;
    let (_, host) = broker.url.rest().rsplit_once('/').expect("a virtual host");
    let queue =
        format!("http://127.0.0.1:{}/api/queues/{host}/tasks", broker.server.management_port());
    let declare = client().put(&queue).json(&json!({ "durable": true }));
    Answer::to(declare.basic_auth("guest", Some("guest"))).await.expect(201);
    wait_until_mended(&broker.program(), BROKER, "with different arguments", async |_| {
        let delete = client().delete(&queue);
        Answer::to(delete.basic_auth("guest", Some("guest"))).await.expect(204);
    })
    .await;
}
