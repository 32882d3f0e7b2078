//! Checks after the faults have stopped.

mod effects;
mod tasks;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use miniapp_broker::Queue;
use miniapp_test_support::http::{Answer, client};
use sqlx::Row as _;

use crate::environment::Environment;
use crate::load::{Submission, poll_until};
use crate::topology::Who;

/// How long tasks may take to end. Lost messages and dead connections are detected within a minute.
const SETTLE: Duration = Duration::from_mins(2);
/// How long processes may take to release memory.
const CALM_DOWN: Duration = Duration::from_secs(20);
/// The memory limit of each process at the end, in megabytes. A debug build uses about half of it
/// after its start; a leak under this load would exceed it.
const MEMORY: f64 = 80.0;

/// Counts for the report.
#[derive(Default)]
pub struct Summary {
    pub tasks: tasks::Counts,
    pub effects: effects::Counts,
    pub memory: Vec<(Who, f64)>,
}

/// Waits until all tasks have ended, and checks the final state.
pub async fn run(environment: &Environment, submissions: &[Submission]) -> Result<Summary> {
    processes_are_ready(environment).await;
    environment.note("all processes are ready");
    all_tasks_have_ended(environment).await?;
    environment.note("every task has ended");
    queues_are_empty(environment).await;
    environment.note("queues are empty");
    let memory = memory_is_released(environment).await;
    check_command_succeeds(environment).await;
    let stored = tasks::Stored::read(environment).await?;
    Ok(Summary {
        memory,
        tasks: tasks::check(environment, submissions, &stored),
        effects: effects::check(environment, submissions, &stored),
    })
}

/// Every process is running and ready.
async fn processes_are_ready(environment: &Environment) {
    for who in Who::all() {
        let mut service = environment.service(who).await;
        if let Some(status) = service.has_ended() {
            environment.findings.add("processes exit only on request", format!("{who}: {status}"));
            continue;
        }
        let mut report = String::new();
        let is_ready = poll_until(SETTLE, async || {
            report = match Answer::try_to(service.admin_request("/readyz")).await {
                Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
                Err(error) => error.to_string(),
            };
            report.contains(r#""status":"ok""#).then_some(())
        });
        let is_ready = is_ready.await.is_some();
        environment
            .findings
            .check(is_ready, "every process becomes ready", || format!("{who}: {report}"));
        let log = service.log();
        let panicked = log.lines().find(|line| line.contains("panicked at"));
        environment.findings.check(panicked.is_none(), "no process panics", || {
            format!("{who}: {}", panicked.unwrap_or_default())
        });
    }
}

/// No task is waiting or executing, and no lease is left.
async fn all_tasks_have_ended(environment: &Environment) -> Result<()> {
    const OPEN: &str = "SELECT count(*) FILTER (WHERE status = 0), \
         count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE lease_until IS NOT NULL) \
         FROM tasks";
    let (_, name) = environment.database.rest().rsplit_once('/').context("a database")?;
    let mut connection = environment.postgres.lock().await.connect(name).await?;
    let mut left = (0, 0, 0);
    poll_until(SETTLE, async || {
        let row = sqlx::query(OPEN).fetch_one(&mut connection).await.ok()?;
        left = (row.get::<i64, _>(0), row.get::<i64, _>(1), row.get::<i64, _>(2));
        (left == (0, 0, 0)).then_some(())
    })
    .await;
    let (waiting, running, leases) = left;
    environment.findings.check(
        left == (0, 0, 0),
        "every accepted task ends, and no lease is left",
        || format!("{waiting} wait, {running} run, {leases} leases"),
    );
    Ok(())
}

/// No message is left, neither ready nor unacknowledged.
async fn queues_are_empty(environment: &Environment) {
    let (_, host) = environment.host.rest().rsplit_once('/').unwrap_or_default();
    let port = environment.rabbit.lock().await.management_port();
    let url = format!("http://127.0.0.1:{port}/api/queues/{host}");
    let mut left = HashMap::new();
    let is_empty = poll_until(SETTLE, async || {
        let request = client().get(&url).basic_auth("guest", Some("guest"));
        let queues = Answer::try_to(request).await.ok()?.json();
        let queues = queues.as_array().filter(|queues| !queues.is_empty())?.iter();
        let count = |queue: &serde_json::Value| {
            Some((queue["name"].as_str()?.to_owned(), queue["messages"].as_u64()?))
        };
        left = queues.map(count).collect::<Option<HashMap<_, _>>>()?;
        left.retain(|_, count| *count > 0);
        left.is_empty().then_some(())
    });
    let is_empty = is_empty.await.is_some();
    environment.findings.check(is_empty, "queues are empty", || format!("{left:?}"));
    // The statistics of the management API may be some seconds old.
    let Ok(broker) = miniapp_broker::open(&environment.host) else { return };
    for queue in [Queue::Tasks, Queue::AccountDeletions, Queue::DeadLetters, Queue::Parked] {
        let depth = broker.depth(queue).await;
        environment
            .findings
            .check(matches!(depth, Ok(0)), "queues are empty", || format!("{queue:?}: {depth:?}"));
    }
}

/// Memory is released after the load.
async fn memory_is_released(environment: &Environment) -> Vec<(Who, f64)> {
    let mut all = Vec::new();
    for who in Who::all() {
        let service = environment.service(who).await;
        let mut megabytes = f64::INFINITY;
        poll_until(CALM_DOWN, async || {
            let response = Answer::try_to(service.admin_request("/metrics")).await.ok()?;
            let text = String::from_utf8_lossy(&response.body).into_owned();
            let mut lines = text.lines();
            let bytes = lines.find_map(|it| it.strip_prefix("process_resident_memory_bytes "))?;
            megabytes = bytes.parse::<f64>().ok()? / 1e6;
            (megabytes < MEMORY).then_some(())
        })
        .await;
        environment.findings.check(megabytes < MEMORY, "memory is released", || {
            format!("{who} holds {megabytes:.0} MB")
        });
        all.push((who, megabytes));
    }
    all
}

/// `miniapp check` finds no violated rule.
async fn check_command_succeeds(environment: &Environment) {
    let checked = environment.program.run(&["check"]).await;
    environment.findings.check(
        checked.status.success(),
        "`miniapp check` finds no violation",
        || format!("{}{}", checked.stdout, checked.stderr),
    );
}
