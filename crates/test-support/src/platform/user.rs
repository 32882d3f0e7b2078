//! A user with an account.

use std::collections::HashMap;

use miniapp_client::{Client, MemoryStore, NewTask, Secret, Session, SessionStore as _, TaskQuery};
use miniapp_types::account::Register;
use miniapp_types::task::{Event, EventType, Status, Task};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::eventually;
use crate::http::{Answer, client, method};

/// The password of all accounts of tests.
pub const PASSWORD: &str = "correct horse battery";

/// A user with an account and tokens. A clone keeps its tokens when the original gets others.
#[derive(Clone, Debug)]
pub struct User {
    pub login: String,
    pub email: String,
    pub id: Uuid,
    client: Client,
}

impl User {
    /// Registers an account at `auth`. `code` returns the code in the mail to an address.
    pub(super) async fn sign_up(
        auth: &str,
        api: &str,
        login: &str,
        code: impl AsyncFnOnce(&str) -> String,
    ) -> Self {
        let email = format!("{login}@example.com");
        let client = connect(api, auth, None);
        let code = code(&email).await;
        let verified = client.verify_email(&email, &code).await.expect("a valid code");
        let account = Register {
            email: email.clone(),
            login: login.to_owned(),
            password: Secret::new(PASSWORD),
            password_confirm: None,
            birth_date: None,
            phone_number: None,
            registration_token: Some(verified.registration_token),
        };
        let id = client.register(&account).await.expect("an account").user_id;
        let mut user = Self { login: login.to_owned(), email, id, client };
        user.sign_in().await;
        user
    }

    /// The same user as a client of another replica of the API.
    #[must_use]
    pub fn at(&self, api: &str) -> Self {
        let client = connect(api, self.client.auth_url().as_str(), Some(self.session()));
        Self { client, ..self.clone() }
    }

    /// Signs in with the password and replaces the tokens.
    pub async fn sign_in(&mut self) {
        self.client =
            connect(self.client.api_url().as_str(), self.client.auth_url().as_str(), None);
        self.client.sign_in(&self.login, Secret::new(PASSWORD)).await.expect("tokens");
    }

    /// Replaces the tokens.
    pub fn use_tokens(&mut self, access: &str, refresh: &str) {
        let session = Session {
            access_token: Secret::new(access),
            refresh_token: Secret::new(refresh),
            ..self.session()
        };
        let (api, auth) = (self.client.api_url().as_str(), self.client.auth_url().as_str());
        self.client = connect(api, auth, Some(session));
    }

    /// Returns the access token.
    pub fn access(&self) -> String {
        self.session().access_token.expose().to_owned()
    }

    /// Returns the refresh token.
    pub fn refresh(&self) -> String {
        self.session().refresh_token.expose().to_owned()
    }

    fn session(&self) -> Session {
        self.client.session().expect("a session")
    }

    /// Returns a client with the user's tokens.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A request to the API with the access token.
    pub fn api(&self, method: &str, path: &str) -> RequestBuilder {
        self.request(method, self.client.api_url().as_str(), path)
    }

    /// A request to auth with the access token.
    pub fn auth(&self, method: &str, path: &str) -> RequestBuilder {
        self.request(method, self.client.auth_url().as_str(), path)
    }

    /// Submits a task with a ttl of a minute.
    pub async fn submit(&self, kind: &str, data: &Value) -> Task {
        let task = NewTask::new(kind, data).expect("JSON").description("a test").ttl(60);
        self.client.submit(&task).await.expect("an accepted task")
    }

    /// Submits `body` unchanged.
    pub async fn try_submit(&self, body: &Value) -> reqwest::Result<Answer> {
        Answer::try_to(self.api("POST", "/api/tasks").json(body)).await
    }

    pub async fn task(&self, id: Uuid) -> Task {
        self.client.task(id).await.expect("a task")
    }

    /// The events of a task.
    pub async fn timeline(&self, id: Uuid) -> Vec<Event> {
        self.client.timeline(id).await.expect("a timeline").events
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
        let mut query = TaskQuery { limit: Some(200), ..TaskQuery::default() };
        loop {
            let page = self.client.tasks(&query).await.expect("a page");
            tasks.extend(page.tasks);
            if page.next_cursor.is_none() {
                return tasks;
            }
            query.cursor = page.next_cursor;
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
        let url = format!("{}{path}", url.trim_end_matches('/'));
        client().request(method(name), url).bearer_auth(self.access())
    }
}

/// Creates a client with the tokens of `session`.
fn connect(api: &str, auth: &str, session: Option<Session>) -> Client {
    let sessions = MemoryStore::default();
    sessions.save(session).expect("memory cannot fail");
    let client = Client::builder(api).auth_url(auth).session_store(sessions);
    client.build().expect("valid URLs")
}

/// The body of a task with a ttl of a minute.
pub fn task(kind: &str, data: &Value) -> Value {
    json!({ "description": "a test", "kind": kind, "data": data, "ttl": 60 })
}
