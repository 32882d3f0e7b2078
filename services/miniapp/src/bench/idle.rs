//! One task at a time, from its submission to the event that tells its end.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use eventsource_stream::{EventStreamError, Eventsource as _};
use futures_util::stream::{BoxStream, StreamExt as _};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::clock::{Clock as _, SystemClock};
use miniapp_types::task::{Event, EventType};
use serde::Deserialize;
use uuid::Uuid;

use super::http::{Connection, Target};
use super::load::{Times, apart};

/// Nothing idle takes this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first ones find cold caches, and connections that are being made.
const WARM_UP: u32 = 20;

/// How long tasks took on an idle platform.
#[derive(Debug, Default)]
pub struct Idle {
    /// From the request to the finished event at the client.
    pub whole: Times,
    /// From the request to its answer.
    pub submit: Times,
    /// The steps of the whole, in order. They are told by the clocks of both sides, so
    /// they mean nothing between machines.
    pub steps: Steps,
}

/// The steps of a task's life, each with the commit that ends the one before.
#[derive(Debug, Default)]
pub struct Steps {
    /// From the request to the task's making.
    pub arrive: Times,
    /// From there to its start by a worker.
    pub dispatch: Times,
    /// From there to its end.
    pub run: Times,
    /// From there to the event at the client.
    pub tell: Times,
}

/// The answer of a submission, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The task.
    pub task_id: Uuid,
}

/// Submits `rounds` echo tasks, each after the end of the one before.
pub async fn run(target: &Target, rounds: u32) -> anyhow::Result<Idle> {
    let target = target.clone();
    apart(move || async move {
        let stream = Connection::open(&target).await?.stream(target.get("/api/events")).await?;
        let mut events = Events(stream.into_data_stream().eventsource().boxed());
        let mut connection = Connection::open(&target).await?;
        let mut idle = Idle::default();
        for round in 0..rounds + WARM_UP {
            let once = one(&target, &mut connection, &mut events);
            let once = tokio::time::timeout(PATIENCE, once).await??;
            if round >= WARM_UP {
                idle.add(&once);
            }
        }
        Ok(idle)
    })
    .await
}

/// The times of one task.
struct Once {
    whole: Duration,
    submit: Duration,
    steps: [SignedDuration; 4],
}

async fn one(
    target: &Target,
    connection: &mut Connection,
    events: &mut Events,
) -> anyhow::Result<Once> {
    let sent_at = SystemClock.now();
    let begin = Instant::now();
    let body = connection.ask(target.post("/api/tasks", echo(0))).await?;
    let submit = begin.elapsed();
    let Accepted { task_id } = serde_json::from_slice(&body)?;
    let mut marks: [Option<Timestamp>; 3] = [None; 3];
    let (whole, seen_at) = loop {
        let event = events.next().await?;
        if event.task_id != task_id {
            continue;
        }
        match event.kind {
            EventType::Created => marks[0] = Some(event.at),
            EventType::Started => marks[1] = Some(event.at),
            EventType::Finished => {
                marks[2] = Some(event.at);
                break (begin.elapsed(), SystemClock.now());
            }
            EventType::Failed | EventType::Canceled | EventType::Deleted => {
                anyhow::bail!("an echo task ended as {}", event.status)
            }
            _ => {}
        }
    };
    let [created, started, finished] = marks.map(|mark| mark.unwrap_or(sent_at));
    let points = [sent_at, created, started, finished, seen_at];
    let steps = std::array::from_fn(|step| points[step + 1].duration_since(points[step]));
    Ok(Once { whole, submit, steps })
}

impl Idle {
    fn add(&mut self, once: &Once) {
        self.whole.record(once.whole);
        self.submit.record(once.submit);
        let Steps { arrive, dispatch, run, tell } = &mut self.steps;
        for (times, step) in [arrive, dispatch, run, tell].into_iter().zip(once.steps) {
            times.record(step.max(SignedDuration::ZERO).unsigned_abs());
        }
    }
}

/// The body of an echo task.
pub fn echo(number: u64) -> String {
    format!(r#"{{"description":"bench","kind":"echo","ttl":60,"data":{{"number":{number}}}}}"#)
}

type Message = Result<eventsource_stream::Event, EventStreamError<hyper::Error>>;

struct Events(BoxStream<'static, Message>);

impl Events {
    async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            let message = self.0.next().await.context("the event stream ended")??;
            if let Ok(event) = serde_json::from_str(&message.data) {
                return Ok(event);
            }
        }
    }
}
