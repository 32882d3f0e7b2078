//! One task at a time, from submission to its finished event.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use eventsource_stream::{EventStreamError, Eventsource as _};
use futures_util::stream::{BoxStream, StreamExt as _};
use http_body_util::BodyExt as _;
use jiff::SignedDuration;
use miniapp_runtime::clock::{Clock as _, SystemClock};
use miniapp_types::task::{Event, EventType};
use serde::Deserialize;
use uuid::Uuid;

use crate::load::{Connection, Endpoint, Latencies, on_own_thread};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Rounds that are not counted: caches are cold, connections are being opened.
const WARM_UP: u32 = 20;

/// Latencies of tasks on an idle platform.
#[derive(Debug, Default)]
pub struct Idle {
    /// From the request to the finished event at the client.
    pub total: Latencies,
    /// From the request to its response.
    pub submit: Latencies,
    pub steps: Steps,
}

/// The parts of the total, in order. They compare the clocks of client and server, so
/// they are valid on one machine only.
#[derive(Debug, Default)]
pub struct Steps {
    /// From the request to the creation of the task.
    pub arrive: Latencies,
    /// From creation to the start by a worker.
    pub dispatch: Latencies,
    /// From start to end.
    pub run: Latencies,
    /// From the end to the event at the client.
    pub notify: Latencies,
}

/// The fields of a submission's response that the bench needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    pub task_id: Uuid,
}

/// Submits `rounds` echo tasks, each after the end of the previous one.
pub async fn run(endpoint: &Endpoint, rounds: u32) -> anyhow::Result<Idle> {
    let endpoint = endpoint.clone();
    on_own_thread(move || async move {
        let stream = Connection::open(&endpoint).await?;
        let stream = stream.stream(endpoint.get("/api/events")).await?;
        let mut events = Events(stream.into_data_stream().eventsource().boxed());
        let mut connection = Connection::open(&endpoint).await?;
        let mut idle = Idle::default();
        for round in 0..rounds + WARM_UP {
            let round_trip = run_one(&endpoint, &mut connection, &mut events);
            let round_trip = tokio::time::timeout(TIMEOUT, round_trip).await??;
            if round >= WARM_UP {
                idle.record(&round_trip);
            }
        }
        Ok(idle)
    })
    .await
}

/// Durations of one task.
struct RoundTrip {
    total: Duration,
    submit: Duration,
    steps: [SignedDuration; 4],
}

async fn run_one(
    endpoint: &Endpoint,
    connection: &mut Connection,
    events: &mut Events,
) -> anyhow::Result<RoundTrip> {
    let sent_at = SystemClock.now();
    let start = Instant::now();
    let body = connection.fetch(endpoint.post("/api/tasks", echo(0))).await?;
    let submit = start.elapsed();
    let Accepted { task_id } = serde_json::from_slice(&body)?;
    let [mut created, mut started] = [sent_at; 2];
    loop {
        let event = events.next().await?;
        if event.task_id != task_id {
            continue;
        }
        match event.kind {
            EventType::Created => created = event.at,
            EventType::Started => started = event.at,
            EventType::Finished => {
                let total = start.elapsed();
                let times = [sent_at, created, started, event.at, SystemClock.now()];
                let steps = std::array::from_fn(|step| times[step + 1].duration_since(times[step]));
                return Ok(RoundTrip { total, submit, steps });
            }
            EventType::Failed | EventType::Canceled | EventType::Deleted => {
                bail!("an echo task ended as {}", event.status)
            }
            _ => {}
        }
    }
}

impl Idle {
    fn record(&mut self, round_trip: &RoundTrip) {
        self.total.record(round_trip.total);
        self.submit.record(round_trip.submit);
        let Steps { arrive, dispatch, run, notify } = &mut self.steps;
        for (latencies, step) in [arrive, dispatch, run, notify].into_iter().zip(round_trip.steps) {
            latencies.record(step.max(SignedDuration::ZERO).unsigned_abs());
        }
    }
}

/// The body of an echo task.
pub fn echo(number: u64) -> String {
    format!(r#"{{"description":"bench","kind":"echo","ttl":60,"data":{{"number":{number}}}}}"#)
}

struct Events(BoxStream<'static, Message>);

type Message = Result<eventsource_stream::Event, EventStreamError<hyper::Error>>;

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
