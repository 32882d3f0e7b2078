//! Every API learns which keys are valid, also without the broker or auth.

use futures_util::future::join_all;
use miniapp_client::{Client, Code, Secret};
use miniapp_test_support::eventually;
use miniapp_test_support::platform::User;
use miniapp_types::account::{CreateApiKey, NewApiKey, Scope};

use crate::separate::support::{alone, new_user, shared};

async fn create(user: &User) -> NewApiKey {
    let key =
        CreateApiKey { name: "a key".into(), scopes: vec![Scope::TasksRead], expires_at: None };
    user.client().create_api_key(&key).await.expect("a key")
}

/// A client of each API that has the key alone.
fn with_key(everywhere: &[User], key: &Secret) -> Vec<Client> {
    let client = |user: &User| {
        let builder = Client::builder(user.client().api_url().clone());
        let builder = builder.auth_url(user.client().auth_url().clone());
        builder.api_key(key.clone()).build().expect("valid URLs")
    };
    everywhere.iter().map(client).collect()
}

async fn expect_accepted(clients: &[Client]) {
    for client in clients {
        client.stats().await.expect("a valid key");
    }
}

/// Deletes the key, and waits until every API rejects it.
async fn delete(user: &User, id: uuid::Uuid, clients: &[Client]) {
    user.client().delete_api_key(id).await.expect("deleted");
    let began = std::time::Instant::now();
    let refused = clients.iter().map(async |client| {
        eventually("the API refuses the key", async || {
            client.stats().await.err().and_then(|error| error.code())
        })
        .await
    });
    let codes = join_all(refused).await;
    println!("refused everywhere after {:?}", began.elapsed());
    assert!(codes.iter().all(|code| *code == Code::TokenRevoked), "{codes:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn deletion_reaches_every_api() {
    let broker = shared().await;
    let platform = broker.platform().await;
    let everywhere = new_user(&platform).await;
    for _ in 0..5 {
        let NewApiKey { api_key, key } = create(&everywhere[0]).await;
        let clients = with_key(&everywhere, &key);
        expect_accepted(&clients).await;
        delete(&everywhere[0], api_key.id, &clients).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn deletion_works_without_broker() {
    let broker = alone().await;
    let platform = broker.platform().await;
    let everywhere = new_user(&platform).await;
    let NewApiKey { api_key, key } = create(&everywhere[0]).await;
    let clients = with_key(&everywhere, &key);
    expect_accepted(&clients).await;
    broker.server.stop().await.expect("its end");
    expect_accepted(&clients).await;
    delete(&everywhere[0], api_key.id, &clients).await;
    // A new key works without the broker, too.
    let NewApiKey { api_key, key } = create(&everywhere[0]).await;
    let clients = with_key(&everywhere, &key);
    expect_accepted(&clients).await;
    broker.server.resume().await.expect("its return");
    expect_accepted(&clients).await;
    delete(&everywhere[0], api_key.id, &clients).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn known_keys_are_accepted_without_auth() {
    let broker = shared().await;
    let mut platform = broker.platform().await;
    let everywhere = new_user(&platform).await;
    let [known, unknown] = [create(&everywhere[0]).await, create(&everywhere[0]).await];
    let clients = with_key(&everywhere, &known.key);
    expect_accepted(&clients).await;
    platform.auth.kill().await;
    expect_accepted(&clients).await;
    for client in with_key(&everywhere, &unknown.key) {
        let refused = client.stats().await.expect_err("an unknown key");
        assert_eq!(refused.code(), Some(Code::Unavailable));
    }
    platform.auth.start_again().await;
    for client in with_key(&everywhere, &unknown.key) {
        eventually("a new key works", async || client.stats().await.ok()).await;
    }
    delete(&everywhere[0], known.api_key.id, &clients).await;
}
