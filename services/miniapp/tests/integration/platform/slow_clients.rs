//! Clients that are slow, too many, or send too much.

use std::time::Duration;

use futures_util::future::join_all;
use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, Wire};
use miniapp_types::problem::Code;
use miniapp_types::task::Status;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::platform::support::{new_user, program, shared};

#[tokio::test]
async fn missing_body_times_out() {
    let platform = shared().await;
    let user = new_user(&platform).await;
    for (url, path, token) in
        [(platform.auth(), "/sign-in", None), (platform.api(), "/api/tasks", Some(user.access()))]
    {
        let mut wire = Wire::to(&url).await;
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{}\
             content-length: 100\r\n\r\n{{\"login\":",
            token.unwrap_or_default()
        );
        wire.send(head).await.expect("sent");
        let answer = wire.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
    }
}

#[tokio::test]
async fn request_head_has_size_and_time_limits() {
    let program = program().set("limits.header_timeout", "1s");
    let platform = program.start().await;
    for url in [platform.auth(), platform.api()] {
        let mut wire = Wire::to(&url).await;
        let large = "x".repeat(64 * 1024);
        // The server may reject the head before it is complete.
        let _ = wire.send(format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {large}\r\n\r\n")).await;
        let answer = wire.read_to_end().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");

        let mut wire = Wire::to(&url).await;
        wire.send("GET / HTTP/1.1\r\nhost: x\r\nx-slow").await.expect("sent");
        // The server does not wait for the rest.
        let answer = wire.read_to_end().await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");

        let mut wire = Wire::to(&url).await;
        wire.send("nonsense\r\n\r\n").await.expect("sent");
        assert!(wire.read_to_end().await.starts_with("HTTP/1.1 400 "));
    }
}

#[tokio::test]
async fn rate_limit_responds_with_retry_after() {
    let platform = program().set("limits.per_ip", 5).start().await;
    let body = json!({ "login": "nobody", "password": "not this one" });
    let refused = eventually("it is too often", async || {
        let answer = platform.post_auth("/sign-in", &body).await;
        (answer.status != 401).then_some(answer)
    })
    .await;
    let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{refused:?}");
    refused.expect(429).expect_problem(Code::TooManyRequests);
    // Other paths have no such limit.
    Answer::to(platform.auth_request("GET", "/.well-known/jwks.json")).await.expect(200);
}

#[tokio::test]
async fn addresses_and_accounts_have_separate_limits() {
    let platform = program().set("limits.sign_in_failures", 3).start().await;
    let user = platform.sign_up("ada").await;
    let code = json!({ "email": "grace@example.com" });
    platform.post_auth("/send-verification-code", &code).await.expect(202);
    let refused = platform.post_auth("/send-verification-code", &code).await;
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    refused.expect(429).expect_problem(Code::TooManyRequests);

    let wrong = json!({ "login": user.login, "password": "not this one" });
    for _ in 0..3 {
        platform.post_auth("/sign-in", &wrong).await.expect_problem(Code::CredentialsInvalid);
    }
    let refused = platform.post_auth("/sign-in", &wrong).await;
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    refused.expect(429).expect_problem(Code::TooManyRequests);
}

#[tokio::test]
async fn platform_survives_thousands_of_idle_connections() {
    const IDLE: u64 = 10_000;
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).expect("up to the hard limit");
    let idle = files.current.map_or(IDLE, |limit| IDLE.min(limit.saturating_sub(500)));

    let platform = program().set("limits.header_timeout", "5s").start().await;
    let user = new_user(&platform).await;
    let task = user.submit("sleep", &json!({ "seconds": 0.5 })).await.task_id;
    let api = platform.api();
    let mut wires = Vec::new();
    for _ in 0..idle / 100 {
        wires.extend(join_all((0..100).map(|_| Wire::try_to(&api))).await.into_iter().flatten());
    }
    assert!(wires.len() > usize::try_from(idle / 2).expect("small"), "{}", wires.len());

    // Other listeners are not affected; this one rejects another connection with a response.
    Answer::to(platform.admin_request("/readyz")).await.expect(200);
    Answer::to(user.auth("GET", "/users/me")).await.expect(200);
    let fresh = miniapp_test_support::http::client();
    let request = fresh.get(format!("{api}/api/tasks/{task}")).bearer_auth(user.access());
    if let Ok(answer) = Answer::try_to(request).await
        && answer.status != 200
    {
        answer.expect(503).expect_problem(Code::Unavailable);
    }
    // Idle connections are closed in favour of active ones.
    let found = eventually("there is room again", async || {
        let request = fresh.get(format!("{api}/api/tasks/{task}")).bearer_auth(user.access());
        let answer = Answer::try_to(request.timeout(Duration::from_secs(5))).await.ok()?;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(found.text("taskId"), task.to_string());
    user.until(task, Status::Finished).await;
    drop(wires);
    Answer::to(platform.admin_request("/readyz")).await.expect(200);
}
