//! A platform of separate processes under load.

use std::net::SocketAddr;

use futures_util::future::join_all;
use miniapp_client::TaskQuery;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::platform::{PASSWORD, Program, Separate, Service, User, task};
use miniapp_test_support::postgres::{Durability, Server as Postgres};
use miniapp_test_support::rabbit::{Options, Server as Rabbit};
use miniapp_types::task::Status;
use serde_json::{Value, json};

/// One auth, one API and two workers, on their own servers.
pub struct Load {
    platform: Separate,
    user: User,
    _postgres: Postgres,
    _rabbit: Rabbit,
}

impl Load {
    /// Starts the platform with additional environment variables.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let postgres = Postgres::start(Durability::Crash, &[]).await.expect("a server");
        let rabbit = Rabbit::start(Options::default()).await.expect("a server");
        let database = postgres.database().await.expect("a database");
        let host = rabbit.host().await.expect("a virtual host");
        let mut program = Program::new(env!("CARGO_BIN_EXE_miniapp"))
            .set("database.url", database.expose())
            .set("broker.url", host.expose())
            .set("codes.cooldown", "0s");
        for (name, value) in settings {
            program = program.set_variable(name, value);
        }
        let platform = Separate::start(&program, 1, 2).await;
        let user = platform.sign_up("ada").await;
        Self { platform, user, _postgres: postgres, _rabbit: rabbit }
    }

    /// The admin addresses by the name of the scrape job.
    pub fn targets(&self) -> Vec<(&'static str, Vec<SocketAddr>)> {
        let admins = |services: &[Service]| services.iter().map(Service::admin).collect();
        let Separate { auth, apis, workers, .. } = &self.platform;
        vec![("auth", vec![auth.admin()]), ("api", admins(apis)), ("worker", admins(workers))]
    }

    /// Repeats [`once`](Self::once) forever.
    pub async fn go_on(&self) -> ! {
        loop {
            self.once().await;
        }
    }

    /// Uses every feature once.
    pub async fn once(&self) {
        let mut user = self.user.clone();
        user.sign_in().await;
        self.tasks(&user).await;
        self.accounts(&mut user).await;
    }

    /// Tasks with every outcome, and a delayed one.
    async fn tasks(&self, user: &User) {
        let submits = [
            ("echo", json!("hello"), 60, Status::Finished),
            ("hash", json!({ "rounds": 100 }), 60, Status::Finished),
            ("flaky", json!({ "failures": 1 }), 60, Status::Finished),
            ("sleep", json!({ "seconds": 5 }), 1, Status::Canceled),
        ];
        let ends = submits.into_iter().map(async |(kind, data, ttl, status)| {
            let mut body = task(kind, &data);
            body["ttl"] = ttl.into();
            let answer = user.try_submit(&body).await.expect("an answer").expect(201);
            let id = answer.text("taskId").parse().expect("an id");
            user.until(id, status).await;
        });
        join_all(ends).await;
        let mut fails = task("flaky", &json!({ "failures": 9 }));
        fails["maxAttempts"] = 1.into();
        let mut later = task("echo", &json!(1));
        later["runAt"] = "2100-01-01T00:00:00Z".into();
        for body in [fails, later] {
            user.try_submit(&body).await.expect("an answer").expect(201);
        }
        let canceled = user.submit("sleep", &json!({ "seconds": 50 })).await.task_id;
        user.client().cancel(canceled).await.expect("a running task");
        user.client().tasks(&TaskQuery::default()).await.expect("a page");
    }

    /// Successful and failed sign-ins, refreshed and expired tokens, and a code by mail.
    async fn accounts(&self, user: &mut User) {
        let auth = self.platform.auth.url();
        let post = async |path: &str, body: Value| {
            Answer::to(client().post(format!("{auth}{path}")).json(&body)).await
        };
        post("/sign-in", json!({ "login": "ada", "password": "wrong" })).await.expect(401);
        let dead = user.access();
        user.sign_in().await;
        let body = json!({ "refreshToken": user.refresh() });
        let tokens = post("/refresh", body).await.expect(200);
        user.use_tokens(&tokens.text("authToken"), &tokens.text("refreshToken"));
        post("/refresh", json!({ "refreshToken": "made up" })).await.expect(401);
        let mut refused = user.clone();
        refused.use_tokens(&dead, &user.refresh());
        Answer::to(refused.api("GET", "/api/tasks")).await.expect(401);
        let body = json!({ "email": "bob@example.com" });
        post("/send-verification-code", body).await;
        post("/sign-in", json!({ "login": "ada", "password": PASSWORD })).await.expect(200);
        user.sign_in().await;
    }
}
