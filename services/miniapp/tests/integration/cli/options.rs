//! Options that all commands share, and invalid arguments.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;

use super::{program, run, run_command, signed_in};

const NOBODY: u32 = 65534;

#[tokio::test]
async fn names_of_this_machine_are_one_sign_in() {
    let platform = program().start().await;
    signed_in(&platform, "ada").await;
    let port = platform.api().rsplit(':').next().expect("a port").to_owned();
    let program = platform.program();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{port}");
        let text = run(program, &["whoami", "--url", &url], "").expect(0);
        assert!(text.starts_with("ada <ada@example.com> with the roles user"), "{text}");
    }
    let refused = run(program, &["whoami", "--url", "http://localhost:1"], "");
    assert!(refused.stderr.contains("not signed in at http://localhost:1/"), "{refused:?}");
}

#[test]
fn url_is_refused_by_commands_without_a_platform() {
    let program = program();
    for command in [
        &["serve"][..],
        &["demo"],
        &["mail"],
        &["check"],
        &["migrate"],
        &["admin", "grant", "ada"],
        &["config"],
        &["openapi", "api"],
        &["completions", "bash"],
    ] {
        let ran = run(&program, &[command, &["--url", "http://h:1"]].concat(), "");
        assert!(ran.stderr.starts_with("error: --url does not apply: "), "{ran:?}");
        ran.expect(2);
    }
    let elsewhere = program.set_variable("MINIAPP_URL", "http://h:1");
    let ran = run(&elsewhere, &["mail"], "");
    assert!(ran.stderr.contains("MINIAPP_URL selects another platform"), "{ran:?}");
    ran.expect(2);
    run(&elsewhere, &["config"], "").expect(0);
}

#[test]
fn usage_errors_are_json_with_json() {
    let program = program();
    let cases: [(&[&str], &str); 6] = [
        (&["task", "list", "--limit", "0"], "--limit"),
        (&["task", "submit", "--data", "{broken"], "--data"),
        (&["task", "submit", "--data", "hello"], "--text"),
        (&["task", "submit", "--after", "1y"], "1h30m"),
        (&["task", "show", "\u{1b}[2J\u{202e}"], "TASK"),
        (&["nonsense"], "nonsense"),
    ];
    for (arguments, expected) in cases {
        let ran = run(&program, &[arguments, &["--json"]].concat(), "");
        let error: Value = serde_json::from_str(&ran.stderr).expect(&ran.stderr);
        assert_eq!(error["code"], "usage", "{ran:?}");
        assert!(error["error"].as_str().expect("a text").contains(expected), "{ran:?}");
        assert_eq!(ran.expect(2), "");

        let ran = run(&program, arguments, "");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(expected), "{ran:?}");
        assert!(!ran.stderr.contains(['\u{1b}', '\u{202e}']), "{ran:?}");
        ran.expect(2);
    }
}

#[test]
fn explicit_color_wins_over_no_color() {
    let colored = |environment: &[(&str, &str)], option: &[&str]| {
        let set = |program: miniapp_test_support::platform::Program,
                   (name, value): &(&str, &str)| {
            program.set_variable(name, value)
        };
        let program = environment.iter().fold(program(), set);
        let ran = run(&program, &[&["config"], option].concat(), "");
        ran.expect(0).contains('\u{1b}')
    };
    let no_color = ("NO_COLOR", "1");
    assert!(colored(&[no_color], &["--color", "always"]));
    assert!(colored(&[no_color, ("TERM", "dumb")], &["--color", "always"]));
    assert!(!colored(&[no_color, ("CLICOLOR_FORCE", "1")], &["--color", "never"]));
    assert!(!colored(&[no_color], &[]));
}

#[tokio::test]
async fn permission_denied_is_not_a_missing_database() {
    let program = program();
    let missing = run(&program, &["mail"], "");
    assert!(missing.stderr.contains("there is no database"), "{missing:?}");
    missing.expect(1);

    program.start().await.stop().await;
    // Root may read everything, and another user may not start what is in the home of root.
    let public = tempfile::tempdir().expect("a directory");
    fs::set_permissions(&public, Permissions::from_mode(0o755)).expect("changed");
    let binary = public.path().join("miniapp");
    fs::copy(program.binary(), &binary).expect("copied");
    let mut command = Command::new(&binary);
    command.arg("mail").env_clear().envs(program.environment());
    fs::set_permissions(program.data_dir(), Permissions::from_mode(0o000)).expect("changed");
    if rustix::process::getuid().is_root() {
        command.uid(NOBODY);
    }
    let denied = run_command(command, "");
    fs::set_permissions(program.data_dir(), Permissions::from_mode(0o700)).expect("changed");
    assert!(denied.stderr.contains("ermission denied"), "{denied:?}");
    assert!(!denied.stderr.contains("there is no database"), "{denied:?}");
    denied.expect(1);
}

#[tokio::test]
async fn trace_is_read_from_the_selected_platform() {
    let platform = program().set("telemetry.sampler", "always_on").start().await;
    let user = signed_in(&platform, "ada").await;
    let task = user.submit("echo", &serde_json::json!(1)).await;
    user.until(task.task_id, miniapp_types::task::Status::Finished).await;

    // The configuration is that of another platform.
    let other = program();
    let (api, auth, admin) = (platform.api(), platform.auth(), platform.admin());
    let selected = ["--url", &api, "--auth-url", &auth];
    let login = ["login", "ada", "--password-stdin"];
    let password = miniapp_test_support::platform::PASSWORD;
    run(&other, &[&login[..], &selected].concat(), password).expect(0);
    let unknown = run(&other, &[&["trace", "last"][..], &selected].concat(), "");
    assert!(unknown.stderr.contains("set --admin-url"), "{unknown:?}");
    let arguments = [&["trace", "last", "--admin-url", &admin][..], &selected].concat();
    let text = run(&other, &arguments, "").expect(0);
    assert!(text.contains("POST /api/tasks"), "{text}");
}
