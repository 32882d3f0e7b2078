//! Clients that submit tasks until they are accepted, and cancel, restart or delete some.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use miniapp_runtime::clock::{Clock as _, SystemClock};
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::User;
use miniapp_types::task::Task;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::RequestBuilder;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::environment::Environment;
use crate::request::TaskRequest;
use crate::topology::APIS;

/// The number of clients.
const CLIENTS: usize = 64;
/// The number of submissions per second while the platform responds.
const PER_SECOND: u32 = 200;
/// The timeout of a request.
const ANSWER: Duration = Duration::from_secs(3);
/// How long a client retries. No fault lasts that long.
const TIMEOUT: Duration = Duration::from_mins(3);

/// A client's record of its task.
#[derive(Debug)]
pub struct Submission {
    pub owner: Uuid,
    /// The client's name of the task, which is the idempotency key as well.
    pub name: String,
    pub request: TaskRequest,
    /// The ids in the responses.
    pub ids: BTreeSet<Uuid>,
    /// The number of submissions.
    pub tries: u32,
    pub cancels: Requests,
    pub restarts: Requests,
    pub deletes: Requests,
}

/// A requested change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requests {
    /// The maximum number of effective requests.
    pub sent: u32,
    /// The minimum number of effective requests.
    pub confirmed: u32,
}

impl Submission {
    /// Whether the client has requested no change.
    pub fn has_no_changes(&self) -> bool {
        self.cancels.sent + self.restarts.sent + self.deletes.sent == 0
    }
}

/// Submits `count` tasks and returns the records of the clients.
pub async fn run(environment: &Arc<Environment>, seed: u64, count: usize) -> Vec<Submission> {
    let clients = (0..CLIENTS).map(|number| {
        let environment = environment.clone();
        let share = count / CLIENTS + usize::from(number < count % CLIENTS);
        tokio::spawn(async move { Client::new(&environment, seed, number).run(share).await })
    });
    let known = join_all(clients).await;
    known.into_iter().flat_map(|known| known.expect("no panic of a client")).collect()
}

struct Client<'w> {
    environment: &'w Environment,
    number: usize,
    /// The user as a client of each API.
    user: Vec<User>,
    dice: Xoshiro256PlusPlus,
}

impl<'w> Client<'w> {
    fn new(environment: &'w Environment, seed: u64, number: usize) -> Self {
        let user = number % environment.users.len();
        Self {
            environment,
            number,
            user: (0..APIS).map(|api| environment.at(user, api)).collect(),
            dice: Xoshiro256PlusPlus::seed_from_u64(seed ^ (number as u64 + 1)),
        }
    }

    async fn run(mut self, count: usize) -> Vec<Submission> {
        let mut mine: Vec<Submission> = Vec::new();
        let pace = Duration::from_secs(1) * u32::try_from(CLIENTS).unwrap_or(1) / PER_SECOND;
        for number in 0..count {
            let turn = pace * u32::try_from(number).unwrap_or(u32::MAX);
            tokio::time::sleep_until(self.environment.began + turn).await;
            let name = format!("client {}, task {number}", self.number + 1);
            mine.extend(self.submit(name).await);
            if !mine.is_empty() && self.dice.random_range(0..100) < 12 {
                let one = self.dice.random_range(0..mine.len());
                self.change(&mut mine[one]).await;
            }
        }
        mine
    }

    /// The response of one of the APIs, unless it is a temporary failure.
    async fn send(&mut self, request: impl Fn(&User) -> RequestBuilder) -> Option<Answer> {
        let api = self.dice.random_range(0..APIS);
        let answer = Answer::try_to(request(&self.user[api]).timeout(ANSWER)).await.ok()?;
        (answer.status != 503).then_some(answer)
    }

    /// Retries until there is a response. Returns the number of requests, too.
    async fn send_until_answered(
        &mut self,
        request: impl Fn(&User) -> RequestBuilder,
    ) -> (u32, Option<Answer>) {
        let until = Instant::now() + TIMEOUT;
        let mut tries = 0;
        while Instant::now() < until {
            tries += 1;
            if let Some(answer) = self.send(&request).await {
                return (tries, Some(answer));
            }
            sleep(Duration::from_millis(self.dice.random_range(50..500))).await;
        }
        self.environment
            .findings
            .add("every request is answered after retries", format_args!("{tries} tries"));
        (tries, None)
    }

    async fn submit(&mut self, name: String) -> Option<Submission> {
        let request =
            TaskRequest::draw(&mut self.dice, &self.environment.effects.url(), SystemClock.now());
        let body = request.body(&name);
        let key = name.replace(' ', "-");
        let submit = |user: &User| {
            user.api("POST", "/api/tasks").header("idempotency-key", &key).json(&body)
        };
        let (mut tries, answer) = self.send_until_answered(submit).await;
        let mut ids = BTreeSet::from([self.accepted(&answer?, tries == 1)?]);
        self.environment.accepted.fetch_add(1, Ordering::Relaxed);
        if self.dice.random_range(0..20) == 0 {
            tries += 1;
            let again = self.send(submit).await;
            ids.extend(again.and_then(|again| self.accepted(&again, false)));
        }
        for id in &ids {
            self.expect_visible(*id).await;
        }
        Some(Submission {
            owner: self.user[0].id,
            name,
            request,
            ids,
            tries,
            cancels: Requests::default(),
            restarts: Requests::default(),
            deletes: Requests::default(),
        })
    }

    /// The id of an accepted task.
    fn accepted(&self, answer: &Answer, is_first: bool) -> Option<Uuid> {
        let task: Option<Task> = serde_json::from_slice(&answer.body).ok();
        let is_accepted = answer.status == 201 || (answer.status == 200 && !is_first);
        let task = task.filter(|_| is_accepted);
        self.environment
            .findings
            .check(task.is_some(), "a submit is accepted", || format!("{answer:?}"));
        task.map(|task| task.task_id)
    }

    /// An accepted task is visible at every API. Checked for a sample.
    async fn expect_visible(&mut self, id: Uuid) {
        if self.dice.random_range(0..20) > 0 {
            return;
        }
        let found = self.send(|user| user.api("GET", &format!("/api/tasks/{id}"))).await;
        let expect_visible = found.as_ref().is_none_or(|answer| answer.status == 200);
        self.environment.findings.check(
            expect_visible,
            "an accepted task is visible at every API",
            || format!("{found:?}"),
        );
    }

    async fn change(&mut self, mine: &mut Submission) {
        let Some(id) = mine.ids.first().copied() else { return };
        if mine.deletes.sent > 0 {
            return;
        }
        let path = format!("/api/tasks/{id}");
        let (requests, method, path, done, refused) = match self.dice.random_range(0..10) {
            0..5 => (&mut mine.cancels, "POST", format!("{path}/cancel"), 202, 409),
            5..8 => (&mut mine.restarts, "PUT", path, 200, 409),
            // A repeated deletion finds no task.
            _ => (&mut mine.deletes, "DELETE", path, 204, 404),
        };
        let (tries, answer) = self.send_until_answered(|user| user.api(method, &path)).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status.as_u16());
        requests.sent += tries - u32::from(status == refused);
        requests.confirmed += u32::from(status == done);
        let Some(answer) = answer else { return };
        let is_sensible = status == done || (status == refused && (status == 409 || tries > 1));
        self.environment.findings.check(
            is_sensible,
            "a change succeeds or is refused for a valid reason",
            || format!("{answer:?} after {tries} tries"),
        );
    }
}

/// Waits for a condition that must become true after the faults have stopped.
pub async fn poll_until<T>(limit: Duration, mut send: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let polling = async {
        loop {
            if let Some(answer) = send().await {
                return answer;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(limit, polling).await.ok()
}
