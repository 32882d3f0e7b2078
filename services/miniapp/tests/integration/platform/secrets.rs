//! Secrets never appear in logs.

use miniapp_test_support::collector::Collector;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{PASSWORD, task};
use miniapp_types::task::Status;
use serde_json::json;

use crate::platform::support::program;

const SECRET: &str = "a secret of this test, for-development-only";
const KEY: &str = "the-key-of-a-collector";
const NEW_PASSWORD: &str = "another horse, another battery";
const WRONG_PASSWORD: &str = "an unheard-of password";

#[tokio::test]
async fn logs_contain_no_secrets() {
    for format in ["json", "text"] {
        let collector = Collector::start().await;
        let program = program()
            .set("log.level", "trace")
            .set("log.format", format)
            .set_secret(SECRET)
            .set("telemetry.otlp_endpoint", collector.url())
            .set("telemetry.otlp_headers", format_args!("authorization=Bearer {KEY}"));
        let platform = program.start().await;
        let mut codes = Vec::new();
        let mut tokens = Vec::new();

        // Every endpoint that reads or creates a secret, with valid and invalid input.
        let mut user = platform.sign_up("ada").await;
        tokens.extend([user.access(), user.refresh()]);
        user.sign_in().await;
        tokens.extend([user.access(), user.refresh()]);
        let wrong = json!({ "login": "ada", "password": WRONG_PASSWORD });
        platform.post_auth("/sign-in", &wrong).await.expect(401);
        let wrong = json!({ "login": 7, "password": WRONG_PASSWORD, "code": WRONG_PASSWORD });
        platform.post_auth("/sign-in", &wrong).await.expect(422);
        let refresh = json!({ "refreshToken": user.refresh() });
        let fresh = platform.post_auth("/refresh", &refresh).await.expect(200);
        tokens.extend([fresh.text("authToken"), fresh.text("refreshToken")]);
        user.use_tokens(&fresh.text("authToken"), &fresh.text("refreshToken"));
        let validate = json!({ "token": user.access() });
        platform.post_auth("/validate", &validate).await.expect(200);
        let change = json!({ "password": PASSWORD, "newPassword": NEW_PASSWORD });
        Answer::to(user.auth("POST", "/users/me/password").json(&change)).await.expect(204);
        let code = platform.code_by("/password-reset", &user.email).await;
        let reset = json!({ "email": user.email, "code": code, "newPassword": PASSWORD });
        platform.post_auth("/password-reset/confirm", &reset).await.expect(204);
        codes.push(code);
        codes.push(platform.code_for("grace@example.com").await);
        let guess = json!({ "email": "grace@example.com", "code": "999999x" });
        platform.post_auth("/verify-email", &guess).await.expect(400);
        user.use_tokens(&tokens[0], &user.refresh());
        Answer::to(user.api("GET", "/api/tasks")).await.expect(401);

        let sign_in = json!({ "login": "ada", "password": PASSWORD });
        let fresh = platform.post_auth("/sign-in", &sign_in).await.expect(200);
        user.use_tokens(&fresh.text("authToken"), &fresh.text("refreshToken"));
        tokens.extend([fresh.text("authToken"), fresh.text("refreshToken")]);
        let echoed = user.submit("echo", &json!("data")).await;
        user.until(echoed.task_id, Status::Finished).await;
        let mut failing = task("flaky", &json!({ "failures": 1 }));
        failing["maxAttempts"] = json!(1);
        let broken = user.try_submit(&failing).await.expect("a response").expect(201);
        user.until(broken.text("taskId").parse().expect("an id"), Status::Failed).await;
        let in_url = user.api("GET", &format!("/api/tasks?token={}", tokens[0]));
        Answer::to(in_url).await.expect(422);

        let ended = platform.stop().await;
        for path in ["/register", "/sign-in", "/refresh", "/users/me/password", "/api/tasks"] {
            assert!(ended.log.contains(path), "{path} wasn't logged: {}", ended.log);
        }
        let requests = collector.requests();
        assert_eq!(requests[0].headers["authorization"], format!("Bearer {KEY}"));
        let spans: Vec<String> =
            requests.iter().map(|request| format!("{:?}", request.message)).collect();
        let spans = spans.join("\n");
        for path in
            ["/register", "/sign-in", "/refresh", "/users/me/password", "send mail", "run echo"]
        {
            assert!(spans.contains(path), "{path} wasn't traced");
        }
        let common = [SECRET, PASSWORD, NEW_PASSWORD, WRONG_PASSWORD, KEY];
        for secret in common.into_iter().chain(tokens.iter().map(String::as_str)) {
            for (what, text) in [("log", &ended.log), ("output", &ended.shown), ("spans", &spans)] {
                assert!(!text.contains(secret), "{what} has {secret:?}: {}", around(text, secret));
            }
        }
        // Codes appear in mails only.
        for (code, text) in codes.iter().flat_map(|code| [(code, &ended.log), (code, &spans)]) {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric());
            assert!(!words.clone().any(|word| word == code), "{}", around(text, code));
        }
        // Neither do personal data and the contents of tasks.
        for private in ["ada@example.com", "grace@example.com", "\"data\""] {
            assert!(!spans.contains(private), "{}", around(&spans, private));
        }
    }
}

/// The line that contains `secret`.
fn around<'a>(text: &'a str, secret: &str) -> &'a str {
    text.lines().find(|line| line.contains(secret)).unwrap_or_default()
}
