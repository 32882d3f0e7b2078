//! Runs the commands of the page about secrets, between and during runs of the platform.

use std::process::Command;

use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::{Engines, Platform, Program, User};
use miniapp_test_support::{eventually, on_all_engines};
use miniapp_types::problem::Code;
use serde_json::{Value, json};

use crate::readme::pages::{blocks, read};

const PAGE: &str = "docs/operations/secrets.md";
const PREVIOUS: &str = "MINIAPP__AUTH__SECRET_PREVIOUS_FILE";
const RESEALED: &str = "signing key sealed with the current secret";

const PRELUDE: &str = r#"
set -eu
command -v openssl >/dev/null || openssl() { head -c 32 /dev/urandom | base64; }
miniapp() { "$PROGRAM" "$@"; }
"#;

on_all_engines!(generated_secret_is_rotated, secret_file_is_rotated, signing_keys_are_rotated);

async fn program(engines: Engines) -> Program {
    let program = Program::new(env!("CARGO_BIN_EXE_miniapp"));
    program.set("auth.admin_email", "admin@example.com").on(engines).await
}

/// The commands of the page that contain `text`.
fn commands(page: &str, text: &str) -> String {
    let mut found = blocks(&read(page), "text").into_iter().filter(|block| block.contains(text));
    found.next().unwrap_or_else(|| panic!("{page} has no commands with {text}"))
}

/// Runs commands in the home directory of the program. Returns their output, and the settings of
/// auth that they have exported.
fn run(program: &Program, commands: &str) -> (String, Vec<(String, String)>) {
    let output = Command::new("sh")
        .args(["-c", &format!("{PRELUDE}{commands}\necho '== settings'\nenv")])
        .env_clear()
        .envs(program.environment())
        .env("PROGRAM", program.binary())
        .current_dir(program.home())
        .output()
        .expect("a shell");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let (printed, settings) = text.split_once("== settings\n").expect("settings");
    let settings = settings.lines().filter_map(|line| line.split_once('='));
    let settings = settings.filter(|(name, _)| name.starts_with("MINIAPP__AUTH__SECRET"));
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    (printed.to_owned(), settings.collect())
}

fn with(program: &Program, settings: &[(String, String)]) -> Program {
    settings
        .iter()
        .fold(program.clone(), |program, (name, value)| program.set_variable(name, value))
}

async fn expect_signed_in(user: &User) {
    Answer::to(user.auth("GET", "/users/me")).await.expect(200);
    Answer::to(user.api("GET", "/api/tasks")).await.expect(200);
}

/// Runs the commands while the platform is stopped, and checks that nobody notices.
async fn rotate_secret(before: Program, text: &str) {
    let platform = before.start().await;
    let user = platform.sign_up("ada").await;
    let email = "grace@example.com";
    let code = platform.code_for(email).await;
    platform.stop().await;

    let (_, exported) = run(&before, &commands(PAGE, text));
    let rotated = with(&before, &exported);
    let platform = rotated.start().await;
    assert!(platform.log().contains(RESEALED), "{}", platform.log());
    expect_signed_in(&user).await;
    let code = json!({ "email": email, "code": code });
    platform.post_auth("/verify-email", &code).await.expect(200);
    let granted = rotated.run(&["admin", "grant", "ada"]).await;
    assert!(granted.status.success(), "{granted:?}");
    platform.stop().await;

    // Without the previous secret.
    let current: Vec<_> = exported.into_iter().filter(|(name, _)| name != PREVIOUS).collect();
    let platform = with(&before, &current).start().await;
    assert!(!platform.log().contains(RESEALED), "{}", platform.log());
    user.client().refresh().await.expect("a new token");
    expect_signed_in(&user).await;
    eventually("the outbox is delivered", async || outbox_is_empty(&platform).await).await;
    assert!(!platform.log().contains("outbox message failed"), "{}", platform.log());
}

async fn outbox_is_empty(platform: &Platform) -> Option<()> {
    let metrics = platform.admin_request("/metrics").send().await.expect("a response");
    let metrics = metrics.text().await.expect("a text");
    let messages = metrics.lines().filter(|line| line.starts_with("miniapp_outbox_messages"));
    let messages: Vec<&str> = messages.collect();
    let is_empty = messages.iter().all(|line| line.ends_with(" 0"));
    // A scrape that could not read the outbox has none.
    (!messages.is_empty() && is_empty).then_some(())
}

async fn generated_secret_is_rotated(engines: Engines) {
    rotate_secret(program(engines).await, "mv secret secret-previous").await;
}

async fn secret_file_is_rotated(engines: Engines) {
    let program = program(engines).await;
    // As the guide makes and uses it.
    let guide = commands("docs/guides/processes.md", "openssl rand");
    let own: Vec<&str> = guide.lines().filter(|line| line.contains("auth-secret")).collect();
    let (_, exported) = run(&program, &own.join("\n"));
    assert_eq!(exported.len(), 1, "{guide}");
    rotate_secret(with(&program, &exported), "mv auth-secret auth-secret-previous").await;
}

async fn signing_keys_are_rotated(engines: Engines) {
    let platform = program(engines).await.start().await;
    let (admin, user) = (platform.sign_up("admin").await, platform.sign_up("ada").await);
    let published = async || {
        let keys = Answer::to(platform.auth_request("GET", "/.well-known/jwks.json")).await;
        let keys = keys.expect(200).json()["keys"].as_array().expect("keys").clone();
        keys.into_iter().map(|key| key["kid"].as_str().expect("an id").to_owned())
    };
    let old = published().await.next().expect("a key");
    let (output, _) = run(platform.program(), &commands(PAGE, "miniapp admin rotate-keys\n"));
    let new = published().await.find(|kid| *kid != old).expect("a new key");
    assert!(output.contains(&format!("The new signing key is {new}. It signs from")), "{output}");
    assert!(output.contains(&format!("Tokens of {old} are valid until")), "{output}");
    expect_signed_in(&user).await;

    let command = commands(PAGE, "miniapp admin rotate-keys --compromised\n");
    let (output, _) = run(platform.program(), &command.replace('\n', " --json\n"));
    let rotated: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(rotated["retiring"], json!([]));
    assert_eq!(rotated["removed"].as_array().map(Vec::len), Some(2), "{rotated}");
    assert!(published().await.eq([rotated["kid"].as_str().expect("an id").to_owned()]));
    for path in ["/users/me", "/api/tasks"] {
        let request = || match path {
            "/users/me" => user.auth("GET", path),
            _ => user.api("GET", path),
        };
        let answer = eventually("tokens of the removed key are rejected", async || {
            let answer = Answer::to(request()).await;
            // The API may be unable to verify it while it reads the keys again.
            let is_early = matches!(answer.status.as_u16(), 200 | 503);
            (!is_early).then(|| answer.expect(401))
        });
        answer.await.expect_problem(Code::TokenInvalid);
    }
    // Sessions continue with tokens of the new key.
    for user in [&user, &admin] {
        user.client().refresh().await.expect("a new token");
        expect_signed_in(user).await;
    }
    let audit = Answer::to(admin.auth("GET", "/audit")).await.expect(200).json();
    let entries = audit["entries"].as_array().expect("entries").iter();
    assert_eq!(entries.filter(|entry| entry["action"] == "rotate_keys").count(), 2, "{audit}");
}
