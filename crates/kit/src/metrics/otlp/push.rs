//! Sending the numbers, again and again.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::request;
use super::translate::Times;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, MetricsExporter};
use crate::lifecycle::Shutdown;
use crate::metrics::{self, Counter};
use crate::telemetry::otlp::{Client, Signal, Target, Why};

/// How often it is told that a collector doesn't take them.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// How long the last ones may take when the process ends.
const LAST: Duration = Duration::from_millis(1500);

/// Sends metrics to a collector.
pub(crate) struct Pusher {
    client: Client,
    every: Duration,
    resource: Resource,
    /// When counting began, in nanoseconds since 1970.
    began: u64,
    failures: Counter,
    told: Option<Instant>,
    /// That the collector takes no metrics, as Jaeger doesn't, was told.
    pub(super) is_unwanted: bool,
}

impl Pusher {
    /// To where `settings` say; `None` if nowhere. `identity` says who this process is. Has
    /// to be called within a runtime.
    pub fn new(
        settings: &config::Telemetry,
        identity: &[KeyValue],
    ) -> anyhow::Result<Option<Self>> {
        if settings.metrics_exporter == MetricsExporter::None {
            return Ok(None);
        }
        let Some(target) = Target::of(Signal::Metrics, settings)? else { return Ok(None) };
        let help = "Requests with metrics that the collector did not take";
        Ok(Some(Self {
            client: Client::new(&target)?,
            every: settings.metric_interval,
            resource: Resource {
                attributes: identity.iter().map(Into::into).collect(),
                ..Resource::default()
            },
            began: now(),
            failures: metrics::counter("telemetry_metric_export_failures", help),
            told: None,
            is_unwanted: false,
        }))
    }

    /// Sends them at every interval, and once more when `stop` begins. What isn't taken is
    /// not kept: the next numbers hold it.
    pub async fn run(mut self, stop: Shutdown) {
        let mut ticks = interval_at(Instant::now() + self.every, self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.send().await,
                () = stop.begun() => {
                    let _ = timeout(LAST, self.send()).await;
                    return;
                }
            }
        }
    }

    pub(super) async fn send(&mut self) {
        let times = Times { began: self.began, now: now() };
        // A number that can't be written is a fault of the code, and no test has found one.
        let Ok(request) = request(self.resource.clone(), times).await else { return };
        let failed = match self.client.send(request.encode_to_vec().into()).await {
            Ok(0) => {
                self.is_unwanted = false;
                return;
            }
            Err(refused) if refused.why == Why::NoSuchSignal => {
                if !std::mem::replace(&mut self.is_unwanted, true) {
                    tracing::info!(reason = %refused, "the collector takes no metrics");
                }
                return;
            }
            Ok(_) => "the collector left out some".to_owned(),
            Err(refused) => refused.to_string(),
        };
        self.failures.inc();
        if self.told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            tracing::warn!(reason = failed, "metrics were not taken by the collector");
            self.told = Some(Instant::now());
        }
    }
}

fn now() -> u64 {
    u64::try_from(SystemClock.now().as_nanosecond()).unwrap_or_default()
}
