//! API keys.

use std::process::Command;

use miniapp_test_support::platform::Program;
use serde_json::Value;

use super::{Ran, program, run, run_command, signed_in};

fn run_with_key(program: &Program, key: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program.binary());
    command.args(arguments).env_clear().envs(program.environment()).env("MINIAPP_API_KEY", key);
    run_command(command, "")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[tokio::test]
async fn keys_are_created_used_and_revoked() {
    let platform = program().start().await;
    signed_in(&platform, "ada").await;
    let program = platform.program();
    let created = run(program, &["key", "create", "ci"], "");
    assert!(created.stderr.contains("MINIAPP_API_KEY"), "{created:?}");
    let key = created.expect(0).trim().to_owned();
    assert_eq!(key.lines().count(), 1, "the key alone, for scripts: {key}");
    let reader = ["key", "create", "reader", "--scope", "tasks:read", "--days", "7", "--json"];
    let reader = json(&run(program, &reader, "").expect(0));
    assert_eq!(reader["scopes"], serde_json::json!(["tasks:read"]));
    assert!(reader["expiresAt"].is_string(), "{reader}");

    run(program, &["logout"], "").expect(0);
    run(program, &["task", "list"], "").expect(1);
    let submit = ["task", "submit", "--kind", "echo", "--text", "hello", "--wait"];
    run_with_key(program, &key, &submit).expect(0);
    let listed = run_with_key(program, &format!("{key}\n"), &["tasks", "list", "--json"]).expect(0);
    assert_eq!(json(&listed)["tasks"].as_array().map(Vec::len), Some(1));
    let shown = run_with_key(program, &key, &["whoami"]).expect(0);
    assert!(shown.starts_with("ada with an API key for tasks:read, tasks:write at "), "{shown}");
    let reader = reader["key"].as_str().expect("a key");
    let refused = run_with_key(program, reader, &submit);
    assert!(refused.stderr.contains("lacks the scope tasks:write"), "{refused:?}");
    refused.expect(1);
    let damaged = run_with_key(program, &key[..40], &["task", "list"]);
    assert!(damaged.stderr.contains("MINIAPP_API_KEY is not an API key"), "{damaged:?}");
    assert!(!damaged.stderr.contains(&key[12..40]), "{damaged:?}");
    damaged.expect(2);
    // A key does not replace the session.
    let refused = run_with_key(program, &key, &["key", "list"]);
    assert!(refused.stderr.contains("miniapp login"), "{refused:?}");
    refused.expect(1);

    run(program, &["login", "ada", "--password-stdin"], super::PASSWORD).expect(0);
    let listed = run(program, &["key", "list"], "").expect(0);
    assert!(listed.contains("ci") && listed.contains(&key[..12]), "{listed}");
    assert!(!listed.contains(&key), "{listed}");
    run(program, &["key", "revoke", "ffffffff"], "").expect(1);
    let revoked = run(program, &["key", "revoke", &key], "").expect(0);
    assert!(revoked.ends_with("  revoked\n"), "{revoked}");
    let refused = miniapp_test_support::eventually("the key is refused", async || {
        let ran = run_with_key(program, &key, &["stats"]);
        (ran.code == Some(1)).then_some(ran)
    })
    .await;
    assert!(refused.stderr.contains("replace the key in MINIAPP_API_KEY"), "{refused:?}");
    run(program, &["key", "revoke", "--all"], "").expect(0);
    let listed = json(&run(program, &["key", "list", "--json"], "").expect(0));
    assert_eq!(listed["apiKeys"], serde_json::json!([]));
}

#[tokio::test]
async fn env_prints_exports_for_a_shell() {
    let platform = program().start().await;
    signed_in(&platform, "ada").await;
    let program = platform.program();
    let exports = run(program, &["key", "env", "it's", "--scope", "tasks:write"], "").expect(0);
    let script = format!("{exports}exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(program.binary());
    command.args(["task", "submit", "--kind", "echo", "--text", "hello"]).env_clear();
    command.env("HOME", program.home().join("another")).env("PATH", "/usr/bin:/bin");
    run_command(command, "").expect(0);
    let names: Vec<&str> =
        exports.lines().map(|line| line.split('=').next().expect("a name")).collect();
    let expected = ["export MINIAPP_URL", "export MINIAPP_AUTH_URL", "export MINIAPP_API_KEY"];
    assert_eq!(names, expected);
}

#[test]
fn invalid_arguments_are_usage_errors() {
    let program = program();
    for arguments in [
        &["key", "create"][..],
        &["key", "create", "n", "--scope", "king"],
        &["key", "create", "n", "--days", "0"],
        &["key", "create", "n", "--expires-at", "soon"],
        &["key", "create", "n", "--days", "1", "--expires-at", "2030-01-01T00:00:00Z"],
        &["key", "revoke"],
        &["key", "revoke", "--all", "x"],
    ] {
        run(&program, arguments, "").expect(2);
    }
}
