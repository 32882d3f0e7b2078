//! Tokens, and how fast the API rejects revoked ones.

use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Engines, PASSWORD, User};
use miniapp_types::problem::Code;
use miniapp_types::task::Status;
use serde_json::json;

use crate::platform::support::{new_user, program, program_on, shared, shared_on};

miniapp_test_support::on_all_engines!(
    refresh_token_works_once,
    lost_refresh_is_repeated,
    password_reset_ends_all_sessions,
    tokens_survive_a_restart,
    account_deletion_removes_tasks,
    admin_is_granted_on_the_database,
);

/// Waits until the API rejects the token.
async fn wait_for_rejection(user: &User) -> Code {
    eventually("the API refuses the token", async || rejection_code(user).await).await
}

/// The response of the API to the user's token.
async fn rejection_code(user: &User) -> Option<Code> {
    let answer = Answer::to(user.api("GET", "/api/tasks")).await;
    (answer.status != 200).then(|| answer.problem().code)
}

#[tokio::test]
async fn sign_out_revokes_token_at_once() {
    let platform = shared().await;
    let user = new_user(&platform).await;
    assert_eq!(rejection_code(&user).await, None);
    Answer::to(user.auth("POST", "/sign-out")).await.expect(204);
    assert_eq!(wait_for_rejection(&user).await, Code::TokenRevoked);
    let refused = Answer::to(user.api("GET", "/api/tasks")).await;
    assert_eq!(refused.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    refused.expect(401).expect_problem(Code::TokenRevoked);
    Answer::to(user.auth("GET", "/users/me")).await.expect_problem(Code::TokenRevoked);
}

#[tokio::test]
async fn sign_in_ends_previous_session() {
    let platform = shared().await;
    let mut user = new_user(&platform).await;
    let before = user.clone();
    assert_eq!(rejection_code(&before).await, None);
    user.sign_in().await;
    assert_eq!(wait_for_rejection(&before).await, Code::TokenRevoked);
    assert_eq!(rejection_code(&user).await, None);
    let refresh = json!({ "refreshToken": before.refresh() });
    platform.post_auth("/refresh", &refresh).await.expect_problem(Code::TokenRevoked);
}

async fn refresh_token_works_once(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let refresh = json!({ "refreshToken": user.refresh() });
    let tokens = platform.post_auth("/refresh", &refresh).await.expect(200);
    let mut fresh = user.clone();
    fresh.use_tokens(&tokens.text("authToken"), &tokens.text("refreshToken"));
    assert_eq!(wait_for_rejection(&user).await, Code::TokenRevoked);
    assert_eq!(rejection_code(&fresh).await, None);
    let next = json!({ "refreshToken": fresh.refresh() });
    let tokens = platform.post_auth("/refresh", &next).await.expect(200);
    fresh.use_tokens(&tokens.text("authToken"), &tokens.text("refreshToken"));
    // Either user of a reused token may be a thief.
    platform.post_auth("/refresh", &refresh).await.expect(401).expect_problem(Code::TokenReused);
    assert_eq!(wait_for_rejection(&fresh).await, Code::TokenRevoked);
}

async fn lost_refresh_is_repeated(engines: Engines) {
    // The grace is as long as the slowest machine needs.
    let platform = program_on(engines).await.set("auth.refresh_grace", "5m").start().await;
    let user = new_user(&platform).await;
    let refresh = json!({ "refreshToken": user.refresh() });
    let tabs = (0..4).map(|_| platform.post_auth("/refresh", &refresh));
    let tabs = futures_util::future::join_all(tabs).await;
    let mut fresh = user.clone();
    for tokens in tabs.into_iter().map(|tab| tab.expect(200)) {
        fresh.use_tokens(&tokens.text("authToken"), &tokens.text("refreshToken"));
        assert_eq!(rejection_code(&fresh).await, None);
    }
    assert_eq!(wait_for_rejection(&user).await, Code::TokenRevoked);
    let again = platform.post_auth("/refresh", &refresh).await.expect(200);
    assert_eq!(again.text("refreshToken"), fresh.refresh());
    let next = json!({ "refreshToken": fresh.refresh() });
    platform.post_auth("/refresh", &next).await.expect(200);
    platform.post_auth("/refresh", &refresh).await.expect(401).expect_problem(Code::TokenReused);
}

async fn password_reset_ends_all_sessions(engines: Engines) {
    let platform = shared_on(engines).await;
    let user = new_user(&platform).await;
    let code = platform.code_by("/password-reset", &user.email).await;
    let new = "another horse, another battery";
    let body = json!({ "email": user.email, "code": code, "newPassword": new });
    platform.post_auth("/password-reset/confirm", &body).await.expect(204);
    assert_eq!(wait_for_rejection(&user).await, Code::TokenRevoked);
    let sign_in = |password| json!({ "login": user.login, "password": password });
    let refused = platform.post_auth("/sign-in", &sign_in(PASSWORD)).await;
    refused.expect(401).expect_problem(Code::CredentialsInvalid);
    platform.post_auth("/sign-in", &sign_in(new)).await.expect(200);
}

#[tokio::test]
async fn access_token_expires() {
    let platform = program().set("auth.access_ttl", "1s").start().await;
    let user = new_user(&platform).await;
    assert_eq!(wait_for_rejection(&user).await, Code::TokenExpired);
}

async fn tokens_survive_a_restart(engines: Engines) {
    let platform = program_on(engines).await.start().await;
    let user = new_user(&platform).await;
    let gone = new_user(&platform).await;
    Answer::to(gone.auth("POST", "/sign-out")).await.expect(204);
    let platform = platform.kill().await.start().await;
    assert_eq!(rejection_code(&user).await, None);
    assert_eq!(wait_for_rejection(&gone).await, Code::TokenRevoked);
    let refresh = json!({ "refreshToken": user.refresh() });
    platform.post_auth("/refresh", &refresh).await.expect(200);
    assert_eq!(wait_for_rejection(&user).await, Code::TokenRevoked);
}

async fn account_deletion_removes_tasks(engines: Engines) {
    let platform =
        program_on(engines).await.set("auth.admin_email", "admin@example.com").start().await;
    let (admin, user) = (platform.sign_up("admin").await, new_user(&platform).await);
    let counted = async || {
        let stats = Answer::to(admin.api("GET", "/api/stats")).await.expect(200).json();
        let counts = stats["byStatus"].as_object().expect("counts").values();
        counts.map(|count| count.as_u64().expect("a number")).sum::<u64>()
    };
    let running = user.submit("sleep", &json!({ "seconds": 600 })).await.task_id;
    user.until(running, Status::Executing).await;
    for _ in 0..10 {
        user.submit("echo", &json!(1)).await;
    }
    assert_eq!(counted().await, 11);

    Answer::to(user.auth("DELETE", "/users/me")).await.expect(204);
    assert_eq!(wait_for_rejection(&user).await, Code::TokenRevoked);
    eventually("all tasks are gone", async || (counted().await == 0).then_some(())).await;
    eventually("nothing runs any more", async || {
        let workers = Answer::to(admin.api("GET", "/api/workers")).await.expect(200).json();
        let workers = workers["workers"].as_array().expect("workers").clone();
        workers.iter().all(|worker| worker["running"] == 0).then_some(())
    })
    .await;
    let sign_in = json!({ "login": user.login, "password": PASSWORD });
    platform.post_auth("/sign-in", &sign_in).await.expect_problem(Code::CredentialsInvalid);
}

async fn admin_is_granted_on_the_database(engines: Engines) {
    let platform = program_on(engines).await.start().await;
    let mut user = platform.sign_up("grace").await;
    Answer::to(user.auth("GET", "/users")).await.expect(403).expect_problem(Code::Forbidden);
    let granted = platform.program().run(&["admin", "grant", "grace"]).await;
    assert!(granted.status.success(), "{granted:?}");
    user.sign_in().await;
    Answer::to(user.auth("GET", "/users")).await.expect(200);
    Answer::to(user.api("GET", "/api/dead-letters")).await.expect(200);
    let unknown = platform.program().run(&["admin", "grant", "nobody"]).await;
    assert_eq!(
        (unknown.status.code(), unknown.stderr.lines().count()),
        (Some(1), 1),
        "{unknown:?}"
    );
}
