//! Accounts, sessions and administration.

use std::{fs, thread};

use miniapp_test_support::platform::PASSWORD;
use miniapp_types::problem::Code;
use miniapp_types::task::Status;
use serde_json::{Value, json};

use super::{program, run, session_file, signed_in};

#[tokio::test]
async fn register_is_scriptable_and_continues() {
    let platform = program().start().await;
    let program = platform.program();
    let email = "ada@example.com";
    let ran = run(program, &["register", email], "");
    assert!(ran.stderr.contains("--code CODE --login LOGIN --password-stdin"), "{ran:?}");
    ran.expect(0);
    let code = miniapp_test_support::eventually("a mail", async || {
        let ran = run(program, &["mail", "--code", "--to", email], "");
        (ran.code == Some(0)).then(|| ran.stdout.trim().to_owned())
    })
    .await;
    let register = |code: &[&str], password: &str| {
        let arguments = ["register", email, "--login", "ada", "--password-stdin"];
        run(program, &[&arguments, code].concat(), password)
    };
    register(&["--code", "000000"], PASSWORD).expect(1);
    // The code is used up, but the address stays verified for this user.
    let refused = register(&["--code", &code], "short");
    assert!(refused.stderr.contains("password"), "{refused:?}");
    refused.expect(1);
    let registered = register(&[], PASSWORD).expect(0);
    assert!(registered.starts_with("Signed in to "), "{registered}");
    let account: Value =
        serde_json::from_str(&run(program, &["whoami", "--json"], "").expect(0)).expect("JSON");
    assert_eq!(account["email"], email);
}

#[tokio::test]
async fn password_is_changed() {
    let platform = program().start().await;
    signed_in(&platform, "ada").await;
    let new = "six quiet lanterns";
    let program = platform.program();
    run(program, &["passwd", "--password-stdin"], &format!("wrong\n{new}\n")).expect(1);
    run(program, &["passwd", "--password-stdin"], &format!("{PASSWORD}\n{new}\n")).expect(0);
    run(program, &["login", "ada", "--password-stdin"], PASSWORD).expect(1);
    run(program, &["login", "ada", "--password-stdin"], new).expect(0);
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let platform = program().start().await;
    signed_in(&platform, "ada").await;
    let program = platform.program();
    let listed = || -> Value {
        let ran = run(program, &["sessions", "list", "--json"], "");
        serde_json::from_str(&ran.expect(0)).expect("JSON")
    };
    let sessions = listed();
    let current = sessions["sessions"].as_array().expect("sessions").iter();
    let current: Vec<&Value> = current.filter(|session| session["current"] == true).collect();
    let [current] = current.as_slice() else { panic!("one session: {sessions}") };
    run(program, &["sessions", "end", "--others"], "").expect(0);
    assert_eq!(listed()["sessions"].as_array().map(Vec::len), Some(1));
    run(program, &["sessions", "end", "ffffffff"], "").expect(1);
    let id = current["id"].as_str().expect("an id");
    run(program, &["sessions", "end", &id[28..]], "").expect(0);
    let ran = run(program, &["whoami"], "");
    assert!(ran.stderr.contains("miniapp login"), "{ran:?}");
    ran.expect(1);
}

/// Commands that run at the same time share a session, and need new tokens.
#[tokio::test]
async fn concurrent_commands_refresh_once() {
    let platform = program().start().await;
    signed_in(&platform, "ada").await;
    let program = platform.program();
    let session = session_file(program);
    let before = fs::read(&session).expect("readable");
    // Its access tokens become invalid.
    run(program, &["admin", "grant", "ada"], "").expect(0);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| run(program, &["whoami"], "").expect(0));
        }
    });
    let after = fs::read(&session).expect("readable");
    assert_ne!(before, after);
    run(program, &["sessions", "list"], "").expect(0);
    assert_eq!(fs::read(&session).expect("readable"), after);
}

/// A command that was killed before it stored its new tokens.
#[tokio::test]
async fn interrupted_refresh_is_repeated() {
    let platform = program().set("auth.refresh_grace", "5m").start().await;
    signed_in(&platform, "ada").await;
    let program = platform.program();
    let session = session_file(program);
    let before = fs::read(&session).expect("readable");
    run(program, &["admin", "grant", "ada"], "").expect(0);
    run(program, &["whoami"], "").expect(0);
    let refreshed = fs::read(&session).expect("readable");
    fs::write(&session, before).expect("writable");
    run(program, &["whoami"], "").expect(0);
    let token = |session: &[u8]| -> Value {
        serde_json::from_slice::<Value>(session).expect("JSON")["refresh"].clone()
    };
    assert_eq!(token(&fs::read(&session).expect("readable")), token(&refreshed));
}

#[tokio::test]
async fn sign_in_of_the_program_ends_its_previous_session_only() {
    let platform = program().start().await;
    let user = signed_in(&platform, "ada").await;
    let program = platform.program();
    run(program, &["login", "ada", "--password-stdin"], PASSWORD).expect(0);
    let ran = run(program, &["sessions", "list", "--json"], "").expect(0);
    let listed: Value = serde_json::from_str(&ran).expect("JSON");
    let sessions = listed["sessions"].as_array().expect("sessions").iter();
    let clients: Vec<&Value> = sessions.map(|session| &session["client"]).collect();
    assert_eq!(clients, ["cli", "default"]);
    let table = run(program, &["sessions", "list"], "").expect(0);
    assert!(table.contains("CLIENT") && table.contains("cli"), "{table}");
    let ended = user.client().account().await.expect_err("the previous session of the program");
    assert_eq!(ended.code(), Some(Code::TokenRevoked));
}

#[tokio::test]
async fn admin_manages_users_and_dead_letters() {
    let platform = program().set("auth.admin_email", "ada@example.com").start().await;
    let user = platform.sign_up("grace").await;
    let failed = user.submit("flaky", &json!({ "failures": 99 })).await.task_id;
    user.until(failed, Status::Failed).await;
    let account = user.client().account().await.expect("an account").user_id.to_string();
    signed_in(&platform, "ada").await;
    let program = platform.program();

    let users = run(program, &["users", "list"], "").expect(0);
    assert!(users.contains("grace@example.com") && users.contains("user, admin"), "{users}");
    let changed = run(program, &["users", "roles", "grace", "user", "admin"], "").expect(0);
    assert!(changed.contains("grace now has the roles user, admin"), "{changed}");
    run(program, &["users", "roles", "nobody", "user"], "").expect(1);
    run(program, &["users", "roles", "grace", "king"], "").expect(2);
    let audit = run(program, &["audit", "--limit", "3"], "").expect(0);
    assert_eq!(audit.lines().count(), 4, "{audit}");

    let listed = run(program, &["dead-letters", "list"], "").expect(0);
    assert!(listed.contains(&failed.to_string()), "{listed}");
    assert!(listed.contains(&account), "{listed}");
    // Also by the digits that a terminal shows.
    for reference in [&failed.to_string(), &failed.simple().to_string()[24..]] {
        let shown = run(program, &["task", "show", reference], "").expect(0);
        assert!(shown.contains(&format!("Owner        {account}")), "{shown}");
    }
    run(program, &["task", "show", "--events", &failed.to_string()], "").expect(1);
    let short = &failed.simple().to_string()[24..];
    let requeued = run(program, &["dead-letters", "requeue", short], "").expect(0);
    assert!(requeued.contains("Awaiting"), "{requeued}");
}

#[tokio::test]
async fn admin_disables_and_enables_accounts() {
    let platform = program().set("auth.admin_email", "ada@example.com").start().await;
    platform.sign_up("grace").await;
    signed_in(&platform, "ada").await;
    let program = platform.program();
    let disabled = run(program, &["users", "disable", "grace"], "").expect(0);
    assert_eq!(disabled, "grace is disabled now.\n");
    let users = run(program, &["users", "list"], "").expect(0);
    let state = |login: &str| {
        let line = users.lines().find(|line| line.starts_with(login)).expect("a line");
        line.contains("disabled")
    };
    assert_eq!((state("grace"), state("ada")), (true, false), "{users}");
    let sign_in = |url: &[&str], password| {
        run(program, &[&["login", "grace", "--password-stdin"], url].concat(), password)
    };
    let refused = sign_in(&[], PASSWORD);
    assert!(refused.stderr.contains("is disabled; an admin can enable it"), "{refused:?}");
    refused.expect(1);
    let refused = sign_in(&[], "wrong");
    assert!(refused.stderr.contains("Login or password is wrong"), "{refused:?}");
    let refused = run(program, &["users", "disable", "ada"], "");
    assert!(refused.stderr.contains("last admin"), "{refused:?}");
    refused.expect(1);
    let audit = run(program, &["audit", "--limit", "4"], "").expect(0);
    assert!(audit.contains("last_admin") && audit.contains("by ada"), "{audit}");
    let enabled = run(program, &["users", "enable", "grace@example.com"], "").expect(0);
    assert_eq!(enabled, "grace is enabled now.\n");
    sign_in(&[], PASSWORD).expect(0);
}

/// Only the URL of the API is known, and auth is somewhere else.
#[tokio::test]
async fn sign_in_names_the_auth_service_that_was_assumed() {
    let platform = program().start().await;
    platform.sign_up("ada").await;
    let program = platform.program();
    // Nothing listens on the first port, and the second one has no accounts.
    for url in ["http://127.0.0.1:1", &platform.admin()] {
        let command = ["login", "ada", "--password-stdin", "--url", url];
        let refused = run(program, &command, PASSWORD);
        assert!(refused.stderr.contains("--auth-url"), "{refused:?}");
        refused.expect(1);
        let auth = ["--auth-url", &platform.auth()];
        run(program, &[&command, &auth[..]].concat(), PASSWORD).expect(0);
    }
    // With the URL there is nothing to explain.
    let command = ["login", "ada", "--password-stdin", "--url", "http://127.0.0.1:1"];
    let refused =
        run(program, &[&command[..], &["--auth-url", "http://127.0.0.1:1"]].concat(), "x");
    assert!(!refused.stderr.contains("--auth-url"), "{refused:?}");
}
