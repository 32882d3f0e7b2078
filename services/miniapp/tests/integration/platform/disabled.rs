//! Disabled accounts.

use std::time::Duration;

use miniapp_test_support::eventually;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Engines, PASSWORD, Platform, User};
use miniapp_types::problem::Code;
use miniapp_types::task::Status;
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::platform::support::program_on;

/// No machine is that slow.
const LIMIT: Duration = Duration::from_mins(1);

miniapp_test_support::on_all_engines!(disabled_account_ends_everywhere);

async fn set_disabled(admin: &User, id: Uuid, disabled: bool) {
    let body = json!({ "disabled": disabled });
    let request = admin.auth("PUT", &format!("/users/{id}/disabled")).json(&body);
    let account = Answer::to(request).await.expect(200).json();
    assert_eq!((&account["userId"], &account["disabled"]), (&json!(id), &json!(disabled)));
}

async fn sign_in(platform: &Platform, user: &User) -> Answer {
    let body = json!({ "login": user.login, "password": PASSWORD });
    platform.post_auth("/sign-in", &body).await
}

async fn disabled_account_ends_everywhere(engines: Engines) {
    let platform =
        program_on(engines).await.set("auth.admin_email", "admin@example.com").start().await;
    let (admin, user) = (platform.sign_up("admin").await, platform.sign_up("grace").await);
    let id = user.client().account().await.expect("an account").user_id;
    let task = user.submit("sleep", &json!({ "seconds": 3 })).await.task_id;
    user.until(task, Status::Executing).await;
    let stream = user.api("GET", "/api/events").header("accept", "text/event-stream");
    let mut stream = stream.send().await.expect("a stream");
    assert_eq!(stream.status(), 200);

    set_disabled(&admin, id, true).await;
    let code = eventually("the API refuses the token", async || {
        let answer = Answer::to(user.api("GET", "/api/tasks")).await;
        (answer.status != 200).then(|| answer.problem().code)
    });
    assert_eq!(code.await, Code::TokenRevoked);
    let end = async { while let Ok(Some(_)) = stream.chunk().await {} };
    timeout(LIMIT, end).await.expect("the stream ends");
    let submit = json!({ "description": "d", "data": 1, "ttl": 5, "kind": "echo" });
    let refused = Answer::to(user.api("POST", "/api/tasks").json(&submit)).await;
    refused.expect(401).expect_problem(Code::TokenRevoked);
    sign_in(&platform, &user).await.expect(403).expect_problem(Code::AccountDisabled);

    // The running task is completed.
    let path = format!("/api/tasks?owner={id}&id={task}");
    eventually("the task is finished", async || {
        let page = Answer::to(admin.api("GET", &path)).await.expect(200).json();
        assert_eq!(page["tasks"][0]["owner"], json!(id));
        (page["tasks"][0]["status"] == "Finished").then_some(())
    })
    .await;

    set_disabled(&admin, id, false).await;
    sign_in(&platform, &user).await.expect(200);
}
