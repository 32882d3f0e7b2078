//! Tasks by their short ids, several at once, and interrupted waits.

use std::process::{Command, Stdio};
use std::time::Duration;

use miniapp_test_support::eventually;
use miniapp_types::task::Status;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{program, run, signed_in};

#[tokio::test]
async fn refusals_name_their_task_and_the_others_are_changed() {
    let platform = program().start().await;
    let user = signed_in(&platform, "ada").await;
    let ended = user.submit("echo", &json!(1)).await.task_id;
    user.until(ended, Status::Finished).await;
    let running = user.submit("sleep", &json!({ "seconds": 60 })).await.task_id;
    let unknown = Uuid::from_u128(7);
    let ids = [ended, unknown, running].map(|id| id.to_string());
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();

    let ran = run(platform.program(), &[&["task", "cancel"][..], &ids].concat(), "");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    for (line, id) in lines.iter().zip([ended, unknown]) {
        assert!(line.starts_with(&format!("error: task {id}: ")), "{line}");
    }
    assert!(ran.stdout.starts_with(&running.to_string()), "{ran:?}");
    ran.expect(1);
    user.until(running, Status::Canceled).await;

    let ran = run(platform.program(), &[&["task", "delete", "--json"][..], &ids].concat(), "");
    let error: Value = serde_json::from_str(&ran.stderr).expect("JSON");
    assert_eq!((&error["code"], &error["taskId"]), (&json!("task_not_found"), &json!(unknown)));
    assert_eq!(ran.expect(1).lines().count(), 2);
}

#[tokio::test]
async fn task_is_found_by_its_short_id() {
    let platform = program().start().await;
    let user = signed_in(&platform, "ada").await;
    let id = user.submit("echo", &json!(1)).await.task_id;
    let other = user.submit("echo", &json!(2)).await.task_id;
    let digits = id.simple().to_string();
    let shown = run(platform.program(), &["task", "show", &digits[24..], "--json"], "").expect(0);
    let task: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(task["taskId"], json!(id));
    // Both were submitted within the same minutes.
    let ran = run(platform.program(), &["why", &digits[..6]], "");
    assert!(ran.stderr.contains(&id.to_string()), "{ran:?}");
    assert!(ran.stderr.contains(&other.to_string()), "{ran:?}");
    ran.expect(1);
    let ran = run(platform.program(), &["task", "cancel", "000000000000"], "");
    assert!(ran.stderr.starts_with("error: task 000000000000: none of"), "{ran:?}");
    ran.expect(1);
}

#[tokio::test]
async fn interrupted_wait_prints_how_to_continue() {
    let platform = program().start().await;
    let user = signed_in(&platform, "ada").await;
    for signal in [Signal::INT, Signal::TERM] {
        let program = platform.program();
        let mut command = Command::new(program.binary());
        command.args(["task", "submit", "--kind", "sleep", "--data", r#"{"seconds":60}"#]);
        command.arg("--wait").env_clear().envs(program.environment());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("started");
        let id = eventually("the task runs", async || {
            let running = user.api("GET", "/api/tasks?status=Executing&limit=1");
            let answer = miniapp_test_support::http::Answer::to(running).await.expect(200);
            answer.json()["tasks"][0]["taskId"].as_str().map(str::to_owned)
        })
        .await;
        // The command waits for events by now.
        tokio::time::sleep(Duration::from_millis(500)).await;
        kill_process(Pid::from_child(&child), signal).expect("sent");
        let output = child.wait_with_output().expect("an end");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(130), "{stdout}{stderr}");
        assert_eq!(stdout.trim_end(), id);
        assert!(stderr.contains(&format!("miniapp task watch {id}")), "{stderr}");
        run(program, &["task", "cancel", &id], "").expect(0);
        user.until(id.parse().expect("an id"), Status::Canceled).await;
    }
}

#[tokio::test]
async fn task_starts_after_a_delay_and_text_is_a_string() {
    let platform = program().start().await;
    signed_in(&platform, "ada").await;
    let submit = ["task", "submit", "--json", "--after", "1d", "--text", "{broken"];
    let task: Value =
        serde_json::from_str(&run(platform.program(), &submit, "").expect(0)).expect("JSON");
    assert_eq!(task["data"], "{broken");
    let time = |name: &str| -> jiff::Timestamp {
        task[name].as_str().expect("a time").parse().expect("a time")
    };
    let delay = time("runAt").duration_since(time("createdAt")).as_secs();
    assert!((86_390..=86_400).contains(&delay), "{delay}");
    let stdin = ["task", "submit", "--data", "-"];
    let ran = run(platform.program(), &stdin, "hello");
    assert!(ran.stderr.contains("use --text"), "{ran:?}");
    ran.expect(2);
}

#[tokio::test]
async fn shell_completes_kinds_and_tasks() {
    let platform = program().start().await;
    let user = signed_in(&platform, "ada").await;
    let id = user.submit("echo", &json!(1)).await.task_id.simple().to_string();
    let program = platform.program().clone().set_variable("MINIAPP_COMPLETE", "fish");
    let complete =
        |words: &[&str]| run(&program, &[&["--", "miniapp"], words].concat(), "").expect(0);
    let kinds = complete(&["task", "submit", "--kind", ""]);
    assert!(kinds.lines().any(|line| line.starts_with("hash")), "{kinds}");
    let tasks = complete(&["task", "show", ""]);
    assert!(tasks.contains(&id[24..]) && tasks.contains("last"), "{tasks}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(platform.program(), &["completions", shell], "").expect(0);
        assert!(script.contains("MINIAPP_COMPLETE"), "{shell}: {script}");
    }
}
