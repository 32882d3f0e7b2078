//! API keys, from their creation to their end.

use futures_util::StreamExt as _;
use miniapp_client::{Client, Code, Error, NewTask, Secret};
use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::{Engines, User};
use miniapp_types::account::{CreateApiKey, NewApiKey, Role, Scope};
use miniapp_types::task::Status;
use serde_json::json;

use crate::platform::support::{new_user, program, program_on, shared_on};

miniapp_test_support::on_all_engines!(
    key_works_until_it_is_deleted,
    key_ends_with_its_account,
    demoted_admin_loses_scopes_of_keys,
    keys_survive_a_restart,
);

async fn create(user: &User, scopes: &[Scope]) -> NewApiKey {
    let key = CreateApiKey { name: "a key".into(), scopes: scopes.to_vec(), expires_at: None };
    user.client().create_api_key(&key).await.expect("a key")
}

/// A client that has the key alone.
fn with_key(user: &User, key: &Secret) -> Client {
    let builder = Client::builder(user.client().api_url().clone());
    let builder = builder.auth_url(user.client().auth_url().clone());
    builder.api_key(key.clone()).build().expect("valid URLs")
}

/// Waits until the API rejects the key.
async fn wait_for_rejection(client: &Client) -> Code {
    eventually("the API refuses the key", async || {
        client.stats().await.err().and_then(|error| error.code())
    })
    .await
}

async fn key_works_until_it_is_deleted(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let NewApiKey { api_key, key } = create(&user, &[Scope::TasksRead, Scope::TasksWrite]).await;
    let client = with_key(&user, &key);
    let task = client.submit(&NewTask::new("echo", &"hello").expect("JSON")).await;
    let id = task.expect("a task").task_id;
    let mut events = client.watch(id);
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.expect("an event").status);
    }
    assert_eq!(last, Some(Status::Finished));
    assert_eq!(user.task(id).await.status, Status::Finished, "a task of the owner");
    eventually("the use is recorded", async || {
        let keys = user.client().api_keys().await.expect("keys").api_keys;
        keys.iter().find(|listed| listed.id == api_key.id)?.last_used_at
    })
    .await;

    let reader = with_key(&user, &create(&user, &[Scope::TasksRead]).await.key);
    let refused = reader.cancel(id).await.expect_err("no scope");
    assert_eq!(refused.code(), Some(Code::ScopeMissing));
    // A key gives no access to the account.
    let request = client_request(&user, "/users/me", &key);
    Answer::to(request).await.expect(401).expect_problem(Code::TokenInvalid);
    let refused = client.account().await.expect_err("no session");
    assert!(matches!(refused, Error::NotSignedIn(_)), "{refused}");

    let mut stream = client.watch_all().await.expect("a stream");
    user.client().delete_api_key(api_key.id).await.expect("deleted");
    assert_eq!(wait_for_rejection(&client).await, Code::TokenRevoked);
    let end = stream.next().await.expect("an end").expect_err("an error");
    assert_eq!(end.code(), Some(Code::TokenRevoked));
    let again = user.client().delete_api_key(api_key.id).await.expect_err("gone");
    assert_eq!(again.code(), Some(Code::ApiKeyNotFound));
    reader.stats().await.expect("the other key is valid");
}

/// A request to auth with a key.
fn client_request(user: &User, path: &str, key: &Secret) -> reqwest::RequestBuilder {
    let url = format!("{}{path}", user.client().auth_url().as_str().trim_end_matches('/'));
    client().get(url).bearer_auth(key.expose())
}

async fn key_ends_with_its_account(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let client = with_key(&user, &create(&user, &[Scope::TasksRead]).await.key);
    client.stats().await.expect("a valid key");
    Answer::to(user.auth("DELETE", "/users/me")).await.expect(204);
    assert_eq!(wait_for_rejection(&client).await, Code::TokenRevoked);
}

async fn demoted_admin_loses_scopes_of_keys(engines: Engines) {
    let platform =
        program_on(engines).await.set("auth.admin_email", "root@example.com").start().await;
    let root = platform.sign_up("root").await;
    let mut user = platform.sign_up("ada").await;
    root.client().set_roles(user.id, &[Role::User, Role::Admin]).await.expect("set");
    user.sign_in().await;
    let key = create(&user, &[Scope::AdminRead, Scope::TasksRead]).await.key;
    let client = with_key(&user, &key);
    let list = async || client.dead_letters(&miniapp_client::PageQuery::default()).await;
    list().await.expect("an admin");
    root.client().set_roles(user.id, &[Role::User]).await.expect("set");
    let code = eventually("the scope stops working", async || {
        list().await.err().and_then(|error| error.code())
    })
    .await;
    assert_eq!(code, Code::Forbidden);
    client.stats().await.expect("other scopes work");
    root.client().set_roles(user.id, &[Role::User, Role::Admin]).await.expect("set");
    eventually("the scope works again", async || list().await.ok()).await;
}

async fn keys_survive_a_restart(engines: Engines) {
    let platform = program_on(engines).await.start().await;
    let user = platform.sign_up("ada").await;
    let [kept, deleted] =
        [create(&user, &[Scope::TasksRead]).await, create(&user, &[Scope::TasksRead]).await];
    user.client().delete_api_key(deleted.api_key.id).await.expect("deleted");
    let platform = platform.kill().await.start().await;
    let at = |key: &NewApiKey| {
        let builder = Client::builder(platform.api()).api_key(key.key.clone());
        builder.build().expect("a client")
    };
    at(&kept).stats().await.expect("valid");
    assert_eq!(wait_for_rejection(&at(&deleted)).await, Code::TokenRevoked);
}

/// Wherever a client puts a key.
#[tokio::test]
async fn log_contains_no_key() {
    let platform = program().set("log.level", "debug").start().await;
    let user = platform.sign_up("ada").await;
    let key = create(&user, &[Scope::TasksRead]).await.key;
    let text = key.expose();
    with_key(&user, &key).stats().await.expect("a valid key");
    let api = user.client().api_url().as_str().trim_end_matches('/');
    for path in [format!("/api/tasks/{text}"), format!("/{text}?key={text}")] {
        let url = format!("{api}{path}");
        let refused = Answer::to(client().get(url).bearer_auth(format!("{text}x"))).await;
        assert!(matches!(refused.status.as_u16(), 401 | 404), "{refused:?}");
    }
    let validate = json!({ "token": text });
    platform.post_auth("/validate", &validate).await.expect(200);
    platform.post_auth("/validate", &json!({ "token": format!("{text}x") })).await.expect(400);
    let log = eventually("the requests are logged", async || {
        let log = platform.log();
        log.contains("/api/tasks/[key]").then_some(log)
    })
    .await;
    assert!(!log.contains(text), "the log contains a key");
    assert!(!log.contains(&text[12..]), "the log contains a part of a key");
}
