//! The API's endpoints.

use miniapp_types::task::{Kinds, Stats, Status, SubmitTask, Task, TaskPage, Timeline, Workers};
use reqwest::{Method, Url};
use uuid::Uuid;

use super::{Client, ClientError, at};

/// A task to be submitted.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The body.
    pub task: SubmitTask,
    /// Makes a repeated submission give the same task.
    pub idempotency_key: Option<String>,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    /// Only those that stand here.
    pub status: Option<Status>,
    /// Only those of this kind.
    pub kind: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
    /// From where the page before ended.
    pub cursor: Option<String>,
}

impl TaskQuery {
    fn apply(&self, url: &mut Url) {
        let pairs = [
            ("status", self.status.map(|status| status.to_string())),
            ("kind", self.kind.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("cursor", self.cursor.clone()),
        ];
        let given = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
        url.query_pairs_mut().extend_pairs(given);
    }
}

impl Client {
    /// Submits a task.
    pub async fn submit(&self, submission: &Submission) -> Result<Task, ClientError> {
        let mut request = self.api(Method::POST, "api/tasks").json(&submission.task);
        if let Some(key) = &submission.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.ask(request).await
    }

    /// A page of the caller's tasks, newest first.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, ClientError> {
        let mut url = at(&self.endpoints.api, "api/tasks");
        query.apply(&mut url);
        self.ask(self.http.get(url)).await
    }

    /// One task.
    pub async fn task(&self, id: Uuid) -> Result<Task, ClientError> {
        self.ask(self.api(Method::GET, &task_path(id))).await
    }

    /// What has happened to a task.
    pub async fn timeline(&self, id: Uuid) -> Result<Timeline, ClientError> {
        self.ask(self.api(Method::GET, &format!("{}/events", task_path(id)))).await
    }

    /// Asks for a task's end.
    pub async fn cancel(&self, id: Uuid) -> Result<Task, ClientError> {
        self.ask(self.api(Method::POST, &format!("{}/cancel", task_path(id)))).await
    }

    /// Runs an ended task again.
    pub async fn restart(&self, id: Uuid) -> Result<Task, ClientError> {
        self.ask(self.api(Method::PUT, &task_path(id))).await
    }

    /// Removes a task.
    pub async fn delete(&self, id: Uuid) -> Result<(), ClientError> {
        self.tell(self.api(Method::DELETE, &task_path(id))).await
    }

    /// What the platform can run.
    pub async fn kinds(&self) -> Result<Kinds, ClientError> {
        self.ask(self.api(Method::GET, "api/kinds")).await
    }

    /// The live workers.
    pub async fn workers(&self) -> Result<Workers, ClientError> {
        self.ask(self.api(Method::GET, "api/workers")).await
    }

    /// How many tasks stand where.
    pub async fn stats(&self) -> Result<Stats, ClientError> {
        self.ask(self.api(Method::GET, "api/stats")).await
    }
}

fn task_path(id: Uuid) -> String {
    format!("api/tasks/{id}")
}
