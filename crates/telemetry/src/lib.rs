//! Logs, metrics and traces of a process.
//!
//! [`init`] starts all of them. [`metrics`] is the registry that crates add their metrics to,
//! [`trace`] has what `tracing` does not: spans that are recorded after the fact, and trace
//! contexts in headers and rows.

pub mod config;
mod log;
pub mod metrics;
mod otlp;
mod resource;
mod sampling;
pub mod trace;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::{LogConfig, LogFormat, TelemetryConfig};
use crate::log::Style;
use crate::otlp::Exporter;
use crate::resource::Resources;
use crate::trace::{SpanRecorder, SpanSink, SpanStore};
use miniapp_config::Config;

/// How long the process waits at its end for the last spans to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1500);

/// What telemetry says about a program.
#[derive(Clone, Copy, Debug)]
pub struct ProgramInfo {
    /// The service of the spans that name no other.
    pub service: &'static str,
    pub version: &'static str,
    /// The commit that the program was built from.
    pub revision: Option<&'static str>,
    /// Whether recent traces stay in memory even if they are exported.
    pub keeps_traces: bool,
}

/// The telemetry of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    spans: SpanStore,
    log_filter: LogFilter,
    exporter: Option<Exporter>,
}

/// The log filter, which can be changed while the process runs.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// A process can have only one.
static INSTALLED: Mutex<Option<Telemetry>> = Mutex::new(None);

/// Starts logs and traces. Only the first call in a process has an effect; later ones, which
/// tests make, return what is installed.
pub fn init(program: ProgramInfo, config: &Config) -> anyhow::Result<Telemetry> {
    let mut installed = INSTALLED.lock();
    if let Some(telemetry) = &*installed {
        return Ok(telemetry.clone());
    }
    let (log, warnings): (LogConfig, _) = (config.section()?, config.warnings());
    let config: TelemetryConfig = config.section()?;
    let sampling = config.sampling()?;
    let resources = Resources::new(program, &config);
    let exporter = Exporter::start(&config, resources)?;
    let spans = SpanStore::default();
    let mut sinks: Vec<Box<dyn SpanSink>> = Vec::new();
    if exporter.is_none() || program.keeps_traces {
        sinks.push(Box::new(spans.clone()));
    }
    if let Some(exporter) = &exporter {
        sinks.push(Box::new(exporter.clone()));
    }
    let recorder = SpanRecorder::new(program.service, sinks);
    let provider = sampling
        .configure(SdkTracerProvider::builder())
        .with_span_processor(recorder.clone())
        .build();
    let filter = EnvFilter::try_new(&log.level).context("log.level")?;
    let (filter, handle) = reload::Layer::new(filter);
    let filter = filter.and(filter_fn(is_wanted));
    let log = log::layer(style(log.format), std::io::stderr);
    let tracer = provider.tracer("miniapp");
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(span_layer(tracer))
        .try_init()
        .context("another tracing subscriber is installed")?;
    // Set only here, under the lock.
    trace::set_propagators(&config.propagators);
    if !sampling.is_off() {
        trace::install(recorder);
    }
    log_panics();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let telemetry = Telemetry { spans, log_filter: LogFilter(handle), exporter };
    *installed = Some(telemetry.clone());
    Ok(telemetry)
}

/// Returns the telemetry of this process, if it has been started.
pub fn installed() -> Option<Telemetry> {
    INSTALLED.lock().clone()
}

impl Telemetry {
    /// Returns the latest traces.
    pub fn spans(&self) -> &SpanStore {
        &self.spans
    }

    pub fn log_filter(&self) -> &LogFilter {
        &self.log_filter
    }

    /// Sends the spans that wait, within a time limit. To be called before the process ends.
    pub fn flush(&self) {
        if let Some(exporter) = &self.exporter
            && !exporter.flush(FLUSH_TIMEOUT)
        {
            tracing::warn!("could not send the last spans in time");
        }
    }
}

impl LogFilter {
    pub fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Replaces the filter by one such as `info,miniapp_http=debug`.
    pub fn set(&self, filter: &str) -> anyhow::Result<()> {
        let filter = EnvFilter::builder().parse(filter.trim())?;
        self.0.reload(filter)?;
        Ok(())
    }
}

/// Exports spans independently of the log filter. Warnings and errors that are logged within a
/// span become its events.
fn span_layer<S>(tracer: opentelemetry_sdk::trace::SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let spans = filter_fn(|metadata| metadata.is_span() && *metadata.level() <= Level::INFO);
    let faults = filter_fn(|metadata| metadata.is_event() && *metadata.level() <= Level::WARN);
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_level(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        // Only tracing's current span is used.
        .with_context_activation(false)
        .with_filter(spans.or(faults).and(filter_fn(is_wanted)))
}

/// Excludes RabbitMQ's client: it logs each outage once per component, with whole messages and,
/// at the finest level, credentials. The broker crate logs an outage once.
fn is_wanted(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("lapin")
}

fn style(format: LogFormat) -> Style {
    let is_terminal = std::io::stderr().is_terminal();
    let wants_colors = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto if !is_terminal => Style::Json,
        LogFormat::Auto | LogFormat::Text => {
            Style::Text { has_colors: is_terminal && wants_colors }
        }
    }
}

/// Logs panics like other errors, with their trace.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(panic = message, place, "panicked");
    }));
}
