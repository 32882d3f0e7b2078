//! `miniapp worker`.

use std::process::Stdio;
use std::time::Duration;

use miniapp_test_support::eventually;
use miniapp_test_support::platform::{Platform, User, task};
use miniapp_types::task::{EventType, Status, Task};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{program, run, signed_in};

/// What the data of a task chooses.
const SCRIPT: &str = r#"
case "$(cat)" in
    '"text"') echo hello ;;
    '"json"') echo '{"a": 1.50}' ;;
    '"nothing"') ;;
    '"environment"') echo "$MINIAPP_ATTEMPT $MINIAPP_KIND $MINIAPP_API_KEY" ;;
    '"fail"') echo "the disk" >&2; echo "is full" >&2; exit 3 ;;
    '"silent"') exit 4 ;;
    '"killed"') kill -KILL $$ ;;
    '"retry"') [ "$MINIAPP_ATTEMPT" = 2 ] || exit 75; echo "$MINIAPP_IDEMPOTENCY_KEY" ;;
    '"children"') sleep 3600 & echo done ;;
    '"large"') head -c 1000000000 /dev/zero ;;
    '"progress"') echo '{"progress":0.5,"message":"half"}' >&3; sleep 3600 ;;
    '"stubborn"') trap '' TERM; echo ready >&2; while :; do sleep 0.1; done ;;
esac
"#;

struct World {
    platform: Platform,
    user: User,
    worker: Child,
}

impl World {
    async fn start() -> Self {
        let program =
            program().set("worker.replicas", 0).set("auth.admin_email", "admin@example.com");
        let platform = program.start().await;
        signed_in(&platform, "admin").await;
        let key =
            run(platform.program(), &["key", "create", "w", "--scope", "worker"], "").expect(0);
        let user = platform.sign_up("grace").await;
        let mut command = Command::new(platform.program().binary());
        command
            .args(["worker", "--kind", "script", "--grace", "1", "--", "sh", "-c", SCRIPT])
            .env_clear()
            .envs(platform.program().environment())
            .env("PATH", "/usr/bin:/bin")
            .env("MINIAPP_API_KEY", key.trim())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let worker = command.spawn().expect("a process");
        let is_listed = async || {
            let workers = user.client().workers().await.expect("workers").workers;
            (!workers.is_empty()).then_some(())
        };
        eventually("the worker is listed", is_listed).await;
        Self { platform, user, worker }
    }

    async fn submit(&self, data: &str) -> uuid::Uuid {
        self.user.submit("script", &json!(data)).await.task_id
    }

    async fn until(&self, data: &str, status: Status) -> Task {
        self.user.until(self.submit(data).await, status).await
    }

    async fn stop(&mut self) {
        let id = Pid::from_raw(self.worker.id().expect("it runs").cast_signed()).expect("an id");
        kill_process(id, Signal::TERM).expect("it runs");
        let ended = timeout(Duration::from_mins(1), self.worker.wait()).await;
        assert!(ended.expect("it ends").expect("a status").success());
    }
}

#[tokio::test]
async fn output_is_the_result() {
    let world = World::start().await;
    for (data, result) in [
        ("text", json!("hello")),
        ("json", json!({"a": 1.5})),
        ("nothing", Value::Null),
        ("environment", json!("1 script ")),
        ("children", json!("done")),
    ] {
        let task = world.until(data, Status::Finished).await;
        assert_eq!(task.result.unwrap_or_default(), result, "{data}");
    }
}

#[tokio::test]
async fn exit_code_decides_about_failures() {
    let world = World::start().await;
    for (data, code, message) in [
        ("fail", "exit_3", "the disk\nis full"),
        ("silent", "exit_4", "The command ended with code 4"),
        ("killed", "signal_9", "The command ended with signal 9"),
        ("large", "result_too_large", "The result has more than 524288 bytes of JSON"),
    ] {
        let task = world.until(data, Status::Failed).await;
        let error = task.error.expect("an error");
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message));
        assert_eq!(task.attempt, 1);
    }
    let task = world.until("retry", Status::Finished).await;
    assert_eq!((task.attempt, task.result), (2, Some(json!(format!("{}.1", task.task_id)))));
}

#[tokio::test]
async fn command_is_stopped() {
    let mut world = World::start().await;
    let id = world.submit("progress").await;
    eventually("progress is stored", async || {
        let task = world.user.task(id).await;
        (task.progress > 0.0 && task.status_message.as_deref() == Some("half")).then_some(())
    })
    .await;
    let stubborn = world.submit("stubborn").await;
    eventually("it ignores the signal", async || {
        let task = world.user.task(stubborn).await;
        (task.status_message.as_deref() == Some("ready")).then_some(())
    })
    .await;
    for id in [id, stubborn] {
        world.user.client().cancel(id).await.expect("canceled");
        let task = world.user.until(id, Status::Canceled).await;
        assert_eq!(task.status_message.as_deref(), Some("Canceled by its owner"));
    }
    let mut body = task("script", &json!("progress"));
    body["ttl"] = json!(1);
    let answer = world.user.try_submit(&body).await.expect("an answer").expect(201);
    let expired = answer.text("taskId").parse().expect("a UUID");
    world.user.until(expired, Status::Canceled).await;

    let released = world.submit("progress").await;
    world.user.until(released, Status::Executing).await;
    world.stop().await;
    world.user.until(released, Status::Awaiting).await;
    let types = world.user.event_types(released).await;
    assert_eq!(types.last(), Some(&EventType::Released));
    drop(world.platform);
}

#[tokio::test]
async fn missing_command_is_noticed_at_the_start() {
    let platform = program().start().await;
    signed_in(&platform, "ada").await;
    for command in ["no-such-command", "/no/such/command"] {
        let ran = run(platform.program(), &["worker", "--kind", "k", "--", command], "");
        assert!(ran.stderr.contains("no such command"), "{ran:?}");
        ran.expect(1);
    }
    run(platform.program(), &["worker", "--kind", "k"], "").expect(2);
    // The platform refuses workers of others than admins, and invalid names.
    let refused = run(platform.program(), &["worker", "--kind", "k", "--", "cat"], "");
    assert!(refused.stderr.contains("may not do that"), "{refused:?}");
    refused.expect(1);
}
