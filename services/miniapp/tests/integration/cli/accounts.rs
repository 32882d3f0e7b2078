//! Accounts, sessions and administration.

use miniapp_test_support::platform::PASSWORD;
use miniapp_types::task::Status;
use serde_json::{Value, json};

use super::{program, run, signed_in};

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

#[tokio::test]
async fn admin_manages_users_and_dead_letters() {
    let platform = program().set("auth.admin_email", "ada@example.com").start().await;
    let user = platform.sign_up("grace").await;
    let failed = user.submit("flaky", &json!({ "failures": 99 })).await.task_id;
    user.until(failed, Status::Failed).await;
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
    let short = &failed.simple().to_string()[24..];
    let requeued = run(program, &["dead-letters", "requeue", short], "").expect(0);
    assert!(requeued.contains("Awaiting"), "{requeued}");
}
