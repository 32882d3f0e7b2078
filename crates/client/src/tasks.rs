//! Tasks: the endpoints of the API.

use miniapp_types::name::QueueName;
use miniapp_types::task::{
    Kinds, Queues, Stats, Status, SubmitTask, Task, TaskPage, Timeline, Workers,
};
use reqwest::Method;
use serde::Serialize;
use serde_json::value::to_raw_value;
use uuid::Uuid;

use crate::{Client, Error};

/// A task to submit.
///
/// ```
/// use miniapp_client::NewTask;
/// use serde_json::json;
///
/// let task = NewTask::new("http", &json!({"url": "https://example.com/"}))?
///     .description("Fetch a page")
///     .ttl(10)
///     .idempotency_key("page-17");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NewTask {
    body: SubmitTask,
    idempotency_key: Option<String>,
}

impl NewTask {
    const DEFAULT_TTL: u32 = 30;

    /// Creates a task of `kind` with `data` as its input.
    pub fn new(kind: impl Into<String>, data: &impl Serialize) -> serde_json::Result<Self> {
        let kind = kind.into();
        let body = SubmitTask {
            description: kind.clone(),
            data: to_raw_value(data)?,
            ttl: Self::DEFAULT_TTL,
            kind: Some(kind),
            queue: None,
            max_attempts: None,
            run_at: None,
        };
        Ok(body.into())
    }

    /// Describes the task for people. Default: the kind.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.body.description = description.into();
        self
    }

    /// Sets the time limit of one attempt in seconds. Default: 30.
    #[must_use]
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.body.ttl = seconds;
        self
    }

    /// Sets how many attempts the task has. Default: the server's.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.body.max_attempts = Some(attempts);
        self
    }

    /// Sets the queue. Default: that of the kind.
    #[must_use]
    pub fn queue(mut self, queue: QueueName) -> Self {
        self.body.queue = Some(queue);
        self
    }

    /// Makes repeated submissions with the same key return the same task.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

impl From<SubmitTask> for NewTask {
    fn from(body: SubmitTask) -> Self {
        Self { body, idempotency_key: None }
    }
}

/// Filter and page of a task list.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TaskQuery {
    /// Only the task with this id.
    pub id: Option<Uuid>,
    /// For admins: the id of an account, or `*` for the tasks of all accounts.
    pub owner: Option<String>,
    pub status: Option<Status>,
    pub kind: Option<String>,
    /// The page size.
    pub limit: Option<u32>,
    /// `next_cursor` of the previous page.
    pub cursor: Option<String>,
}

impl Client {
    /// Submits a task.
    pub async fn submit(&self, task: &NewTask) -> Result<Task, Error> {
        let mut request = self.api(Method::POST, "api/tasks").json(&task.body);
        if let Some(key) = &task.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.json(request).await
    }

    /// Returns a page of tasks, the caller's by default, newest first.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, Error> {
        self.json(self.api(Method::GET, "api/tasks").query(query)).await
    }

    /// Returns a task.
    pub async fn task(&self, id: Uuid) -> Result<Task, Error> {
        self.json(self.api(Method::GET, &task_path(id))).await
    }

    /// Returns the recorded events of a task, oldest first.
    pub async fn timeline(&self, id: Uuid) -> Result<Timeline, Error> {
        self.json(self.api(Method::GET, &format!("{}/events", task_path(id)))).await
    }

    /// Cancels a task. A running attempt is stopped soon after.
    pub async fn cancel(&self, id: Uuid) -> Result<Task, Error> {
        self.json(self.api(Method::POST, &format!("{}/cancel", task_path(id)))).await
    }

    /// Runs a task again that has ended.
    pub async fn restart(&self, id: Uuid) -> Result<Task, Error> {
        self.json(self.api(Method::PUT, &task_path(id))).await
    }

    /// Deletes a task. A running attempt is stopped first.
    pub async fn delete(&self, id: Uuid) -> Result<(), Error> {
        self.empty(self.api(Method::DELETE, &task_path(id))).await
    }

    /// Returns the kinds of task that the workers run.
    pub async fn kinds(&self) -> Result<Kinds, Error> {
        self.json(self.api(Method::GET, "api/kinds")).await
    }

    /// Returns the live workers.
    pub async fn workers(&self) -> Result<Workers, Error> {
        self.json(self.api(Method::GET, "api/workers")).await
    }

    /// Returns the queues with their unfinished tasks.
    pub async fn queues(&self) -> Result<Queues, Error> {
        self.json(self.api(Method::GET, "api/queues")).await
    }

    /// Returns how many tasks there are by status.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.json(self.api(Method::GET, "api/stats")).await
    }
}

fn task_path(id: Uuid) -> String {
    format!("api/tasks/{id}")
}
