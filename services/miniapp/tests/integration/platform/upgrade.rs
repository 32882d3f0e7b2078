//! The platform on the data of the previous release.
//!
//! `previous_release/` has dumps of a platform of version 0.1.0 with one account and four tasks.
//! Each release replaces them.

use std::fs;

use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::{Engines, PASSWORD, Platform, Program};
use miniapp_test_support::postgres::Server;
use miniapp_types::problem::Code;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::platform::support::program;

miniapp_test_support::on_all_engines!(
    data_of_the_previous_release_is_migrated,
    requests_of_the_previous_release_can_be_repeated,
);

/// The secret that the signing keys in the dumps are sealed with.
const SECRET: &str = "the secret of the previous release";

async fn data_of_the_previous_release_is_migrated(engines: Engines) {
    let platform = restored(engines).await.start().await;
    let sign_in = json!({ "login": "ada", "password": PASSWORD });
    let token = platform.post_auth("/sign-in", &sign_in).await.expect(200).text("authToken");

    let tasks = tasks(&platform, &token).await;
    let descriptions: Vec<&Value> = tasks.iter().map(|task| &task["description"]).collect();
    assert_eq!(descriptions, ["Later", "Pending", "Retried", "Finished"]);
    assert_eq!(tasks[0]["status"], "Awaiting");
    assert_eq!(tasks[2]["attempt"], 2);
    assert_eq!(tasks[3]["result"], json!({ "hello": "world" }));

    for (task, expected) in [
        (&tasks[2], &["created", "started", "retrying", "started", "finished"][..]),
        (&tasks[3], &["created", "started", "finished"]),
    ] {
        let path = format!("/api/tasks/{}/events", task["taskId"].as_str().expect("an id"));
        let timeline = get(&platform, &token, &path).await;
        let events = timeline["events"].as_array().expect("events").iter();
        let types: Vec<&str> = events.filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(types, expected);
    }

    eventually("the task that became due between the releases has finished", async || {
        let pending = tasks_by_status(&platform, &token, "Finished").await;
        (pending.len() == 3).then_some(())
    })
    .await;
}

/// The task `Pending` was submitted to the previous release with an `Idempotency-Key`.
async fn requests_of_the_previous_release_can_be_repeated(engines: Engines) {
    let platform = restored(engines).await.start().await;
    let sign_in = json!({ "login": "ada", "password": PASSWORD });
    let token = platform.post_auth("/sign-in", &sign_in).await.expect(200).text("authToken");
    let before = tasks(&platform, &token).await;
    let run_at = &before[1]["runAt"];
    let submit = async |data: &str| {
        let body = format!(
            r#"{{"kind":"echo","description":"Pending","data":{data},"ttl":60,"runAt":{run_at}}}"#
        );
        let request = client().post(format!("{}/api/tasks", platform.api())).bearer_auth(&token);
        let request = request.header("idempotency-key", "upgrade").body(body);
        Answer::to(request.header("content-type", "application/json")).await
    };
    for data in ["1", "1.0", "10e-1"] {
        let task = submit(data).await.expect(200);
        assert_eq!(json!(task.text("taskId")), before[1]["taskId"], "{data}");
    }
    for data in ["2", "1.00000000000000000001", "\"1\""] {
        submit(data).await.expect_problem(Code::IdempotencyKeyReused);
    }
    assert_eq!(tasks(&platform, &token).await.len(), before.len());
}

/// The program on a restored dump. Retention must not remove the tasks, whose ends are long ago.
async fn restored(engines: Engines) -> Program {
    let program = program().set_secret(SECRET).set("tasks.retention", "36500d");
    match engines {
        Engines::Embedded => {
            fs::create_dir(program.data_dir()).expect("a directory");
            let file = program.data_dir().join("miniapp.db");
            let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
            let mut connection = options.connect().await.expect("a database");
            let dump = AssertSqlSafe(include_str!("previous_release/sqlite.sql"));
            sqlx::raw_sql(dump).execute(&mut connection).await.expect("a restored dump");
            connection.close().await.expect("a closed database");
            program
        }
        Engines::Postgres => {
            let server = Server::shared().await;
            let url = server.database().await.expect("a database");
            let (_, name) = url.rest().rsplit_once('/').expect("a name");
            let dump = include_str!("previous_release/postgres.sql");
            server.execute(name, dump).await.expect("a restored dump");
            program.set("database.url", url.expose())
        }
    }
}

async fn tasks(platform: &Platform, token: &str) -> Vec<Value> {
    get(platform, token, "/api/tasks").await["tasks"].as_array().expect("tasks").clone()
}

async fn tasks_by_status(platform: &Platform, token: &str, status: &str) -> Vec<Value> {
    let mut tasks = tasks(platform, token).await;
    tasks.retain(|task| task["status"] == *status);
    tasks
}

async fn get(platform: &Platform, token: &str, path: &str) -> Value {
    let request = client().get(format!("{}{path}", platform.api())).bearer_auth(token);
    Answer::to(request).await.expect(200).json()
}
