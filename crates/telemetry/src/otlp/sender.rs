//! Sending what waits, for as long as the process lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender as Done;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::client::{Client, Refused, Why};
use super::queue::{Batch, Queue};
use super::{SCOPE, encode, lost};

/// How often a batch is tried before it is dropped.
const TRIES: u32 = 4;
/// How long to wait before the second time; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(500);
/// How often lost spans are told of.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Someone waits until all is sent, or lost.
pub(super) type Flush = Done<()>;

/// What sends.
pub(super) struct Sender {
    pub queue: Arc<Queue>,
    pub client: Client,
    pub flushes: mpsc::UnboundedReceiver<Flush>,
    /// How long the first span of a batch may wait for the others.
    pub delay: Duration,
    /// What is said about each service, as it is sent.
    pub resources: BTreeMap<String, Vec<u8>>,
    pub resource: Box<dyn Fn(&str) -> Vec<u8> + Send>,
    pub drop_reporter: DropReporter,
    /// Where requests are written.
    pub buffer: Vec<u8>,
}

impl Sender {
    /// Sends until nobody can put anything into the queue.
    pub async fn run(mut self) {
        loop {
            let queue = self.queue.clone();
            let ready = async {
                queue.begun().await;
                let _ = timeout(self.delay, queue.filled()).await;
            };
            tokio::select! {
                () = ready => self.send_all(None).await,
                flush = self.flushes.recv() => match flush {
                    Some(done) => self.send_all(Some(done)).await,
                    None => return,
                },
            }
        }
    }

    /// Sends all there is. Who `waits` for that has no time for further tries.
    async fn send_all(&mut self, mut waits: Option<Flush>) {
        while let Some(batch) = self.queue.take() {
            let request = self.request(&batch);
            let count = batch.count;
            self.queue.reuse(batch);
            let mut tries = 0;
            let refused = loop {
                tries += 1;
                match self.client.send(request.clone()).await {
                    Ok(0) => break None,
                    Ok(left_out) => {
                        lost::count("refused", left_out);
                        break Some("the collector left out some".to_owned());
                    }
                    Err(Refused { why: Why::NotNow, .. }) if waits.is_none() && tries < TRIES => {
                        waits = self.pause(tries).await;
                    }
                    Err(refused) => {
                        let is_away = refused.why == Why::NotNow;
                        let reason = if is_away { "unreachable" } else { "refused" };
                        lost::count(reason, count as u64);
                        break Some(refused.to_string());
                    }
                }
            };
            self.drop_reporter.tell(refused);
            // Nobody else holds it once it is sent.
            self.buffer = request.try_into_mut().map(Vec::from).unwrap_or_default();
        }
        if let Some(waits) = waits {
            // It may have lost its patience.
            let _ = waits.send(());
        }
    }

    fn request(&mut self, batch: &Batch) -> Bytes {
        let mut request = std::mem::take(&mut self.buffer);
        request.clear();
        request.reserve(batch.spans.values().map(|spans| spans.len() + 1024).sum());
        for (service, spans) in &batch.spans {
            if !spans.is_empty() {
                let resource = self
                    .resources
                    .entry(service.clone())
                    .or_insert_with(|| (self.resource)(service));
                encode::resource_spans(&mut request, resource, SCOPE, spans);
            }
        }
        request.into()
    }

    /// Waits before another try, unless someone comes who waits for all to be sent.
    async fn pause(&mut self, tries: u32) -> Option<Flush> {
        let pause = PAUSE * 2_u32.pow(tries - 1);
        let pause = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
        timeout(pause, self.flushes.recv()).await.ok().flatten()
    }
}

/// Tells of lost spans, once in a while.
#[derive(Debug, Default)]
pub(super) struct DropReporter {
    told: Option<(Instant, u64)>,
}

impl DropReporter {
    /// Spans may have been lost, by what `refused` says or because there was no room.
    fn tell(&mut self, refused: Option<String>) {
        let lost = lost::so_far();
        let (is_time, told) = match self.told {
            Some((at, told)) => (at.elapsed() >= TELL_EVERY, told),
            None => (true, 0),
        };
        if lost > told && is_time {
            let reason =
                refused.unwrap_or_else(|| "they come faster than they are sent".to_owned());
            tracing::warn!(lost = lost - told, reason, "spans were not taken by the collector");
            self.told = Some((Instant::now(), lost));
        }
    }
}
