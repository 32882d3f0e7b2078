//! A user with an account.

use std::collections::HashMap;

use miniapp_types::task::{Event, EventType, Status, Task, TaskPage, Timeline};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::eventually;
use crate::http::{Answer, client, method};

/// The password of all accounts of tests.
pub const PASSWORD: &str = "correct horse battery";

/// A user with an account and tokens.
#[derive(Clone, Debug)]
pub struct User {
    pub login: String,
    pub email: String,
    pub id: Uuid,
    pub access: String,
    pub refresh: String,
    api: String,
    auth: String,
}

impl User {
    /// Registers an account at `auth`. `code` returns the code in the mail to an address.
    pub(super) async fn sign_up(
        auth: String,
        api: String,
        login: &str,
        code: impl AsyncFnOnce(&str) -> String,
    ) -> Self {
        let email = format!("{login}@example.com");
        let post = async |path: &str, body: Value| {
            Answer::to(client().post(format!("{auth}{path}")).json(&body)).await
        };
        let code = code(&email).await;
        let verified = post("/verify-email", json!({ "email": email, "code": code })).await;
        let body = json!({
            "email": email,
            "login": login,
            "password": PASSWORD,
            "registrationToken": verified.expect(200).text("registrationToken"),
        });
        let account = post("/register", body).await.expect(201);
        let mut user = Self {
            login: login.to_owned(),
            id: account.text("userId").parse().expect("a UUID"),
            email,
            access: String::new(),
            refresh: String::new(),
            api,
            auth,
        };
        user.sign_in().await;
        user
    }

    /// The same user as a client of another replica of the API.
    #[must_use]
    pub fn at(&self, api: &str) -> Self {
        Self { api: api.to_owned(), ..self.clone() }
    }

    /// Signs in with the password and replaces the tokens.
    pub async fn sign_in(&mut self) {
        let body = json!({ "login": self.login, "password": PASSWORD });
        let request = client().post(format!("{}/sign-in", self.auth)).json(&body);
        let tokens = Answer::to(request).await.expect(200);
        self.access = tokens.text("authToken");
        self.refresh = tokens.text("refreshToken");
    }

    pub fn api(&self, method: &str, path: &str) -> RequestBuilder {
        self.request(method, &self.api, path)
    }

    pub fn auth(&self, method: &str, path: &str) -> RequestBuilder {
        self.request(method, &self.auth, path)
    }

    /// Submits a task with a ttl of a minute.
    pub async fn submit(&self, kind: &str, data: &Value) -> Task {
        let answer = self.try_submit(&task(kind, data)).await.expect("an answer").expect(201);
        serde_json::from_slice(&answer.body).expect("a task")
    }

    /// Submits `body` unchanged.
    pub async fn try_submit(&self, body: &Value) -> reqwest::Result<Answer> {
        Answer::try_to(self.api("POST", "/api/tasks").json(body)).await
    }

    pub async fn task(&self, id: Uuid) -> Task {
        let answer = Answer::to(self.api("GET", &format!("/api/tasks/{id}"))).await.expect(200);
        serde_json::from_slice(&answer.body).expect("a task")
    }

    /// The events of a task.
    pub async fn timeline(&self, id: Uuid) -> Vec<Event> {
        let path = format!("/api/tasks/{id}/events");
        let answer = Answer::to(self.api("GET", &path)).await.expect(200);
        let timeline: Timeline = serde_json::from_slice(&answer.body).expect("a timeline");
        timeline.events
    }

    /// The types of the events of a task.
    pub async fn event_types(&self, id: Uuid) -> Vec<EventType> {
        self.timeline(id).await.into_iter().map(|event| event.kind).collect()
    }

    /// Waits until the task has this status.
    pub async fn until(&self, id: Uuid, status: Status) -> Task {
        eventually(&format!("the task is {status}"), async || {
            let task = self.task(id).await;
            let is_over = task.status.is_terminal() && task.status != status;
            assert!(!is_over, "never will be {status}: {task:?}");
            (task.status == status).then_some(task)
        })
        .await
    }

    /// Every task of the account, newest first, page by page.
    pub async fn tasks(&self) -> Vec<Task> {
        let mut tasks = Vec::new();
        let mut path = "/api/tasks?limit=200".to_owned();
        loop {
            let answer = Answer::to(self.api("GET", &path)).await.expect(200);
            let page: TaskPage = serde_json::from_slice(&answer.body).expect("a page");
            tasks.extend(page.tasks);
            match page.next_cursor {
                Some(cursor) => path = format!("/api/tasks?limit=200&cursor={cursor}"),
                None => return tasks,
            }
        }
    }

    /// The number of tasks of the account by status.
    pub async fn count_by_status(&self) -> HashMap<Status, usize> {
        let mut count = HashMap::new();
        for task in self.tasks().await {
            *count.entry(task.status).or_default() += 1;
        }
        count
    }

    fn request(&self, name: &str, url: &str, path: &str) -> RequestBuilder {
        let request = client().request(method(name), format!("{url}{path}"));
        request.bearer_auth(&self.access)
    }
}

/// The body of a task with a ttl of a minute.
pub fn task(kind: &str, data: &Value) -> Value {
    json!({ "description": "a test", "kind": kind, "data": data, "ttl": 60 })
}
