//! Logs and traces of a process.

pub mod config;
mod log;
pub mod metrics;
pub mod otlp;
mod sampling;
pub mod trace;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::resource::{ResourceDetector as _, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};
use uuid::Uuid;

use crate::trace::{SINK, Sink, SpanStore};
use config::{LogConfig, LogFormat, TelemetryConfig};
use log::{LogLayer, Style};
use miniapp_config::Config;
use otlp::Exporter;
use sampling::Sampler;
pub use sampling::{Sampling, SamplingError};

/// How long the last spans may take to be sent when the process ends.
const LAST_SPANS: Duration = Duration::from_millis(1500);

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

/// The telemetry of this process.
#[derive(Clone, Debug)]
pub struct Telemetry {
    spans: SpanStore,
    log_filter: LogFilter,
    exporter: Option<Exporter>,
}

/// What is logged; can be changed while the process runs.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// What the process has; it can only have one.
static INSTALLED: Mutex<Option<Telemetry>> = Mutex::new(None);

/// Starts logs and traces. The first call of a process decides, later ones (of tests)
/// get what is there.
pub fn init(program: ProgramInfo, config: &Config) -> anyhow::Result<Telemetry> {
    let mut installed = INSTALLED.lock();
    if let Some(telemetry) = &*installed {
        return Ok(telemetry.clone());
    }
    let spans = SpanStore::default();
    let log: LogConfig = config.section()?;
    let config: TelemetryConfig = config.section()?;
    let identity = Identity::new(program, &config);
    let exporter = Exporter::start(&config, move |service| identity.of(service))?;
    let is_kept = exporter.is_none() || program.keeps_traces;
    let store = is_kept.then(|| spans.clone());
    let sink = Sink { service: program.service, store, exporter: exporter.clone() };
    let sampling = Sampling::of(&config)?;
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::new(sampling))
        .with_span_processor(sink.clone())
        .build();
    let filter = EnvFilter::try_new(&log.level).context("log.level")?;
    let (filter, handle) = reload::Layer::new(filter);
    let filter = filter.and(filter_fn(is_ours_to_tell));
    let log = LogLayer::new(style(log.format), std::io::stderr);
    let tracer = provider.tracer("miniapp");
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(span_layer(tracer))
        .try_init()
        .context("another log is in place already")?;
    // Set here alone, and the lock is held.
    if !sampling.is_off() {
        let _ = SINK.set(sink);
    }
    log_panics();
    let log_filter = LogFilter(handle);
    let telemetry = Telemetry { spans, log_filter, exporter };
    *installed = Some(telemetry.clone());
    Ok(telemetry)
}

/// The telemetry of this process, where it has been started.
pub fn installed() -> Option<Telemetry> {
    INSTALLED.lock().clone()
}

impl Telemetry {
    /// The latest traces.
    pub fn spans(&self) -> &SpanStore {
        &self.spans
    }

    /// What is logged.
    pub fn log_filter(&self) -> &LogFilter {
        &self.log_filter
    }

    /// Sends what hasn't been sent, unless that takes too long. To be called before the
    /// process ends.
    pub fn flush(&self) {
        if let Some(exporter) = &self.exporter
            && !exporter.flush(LAST_SPANS)
        {
            tracing::warn!("the last spans could not be sent in time");
        }
    }
}

impl LogFilter {
    /// The filter in force.
    pub fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Puts `filter` in force, such as `info,miniapp_http=debug`.
    pub fn set(&self, filter: &str) -> anyhow::Result<()> {
        let filter = EnvFilter::builder().parse(filter.trim())?;
        self.0.reload(filter)?;
        Ok(())
    }
}

/// What is said about this process where something is sent to a collector.
#[derive(Debug)]
pub(crate) struct Identity {
    program: ProgramInfo,
    /// The name for all parts, where one is set.
    name: Option<String>,
    /// What else is set.
    set: Vec<(String, String)>,
    /// Tells replicas apart.
    instance: String,
}

impl Identity {
    pub fn new(program: ProgramInfo, settings: &TelemetryConfig) -> Self {
        let mut set: Vec<(String, String)> = otlp::pairs(&settings.resource_attributes).collect();
        let named = set.extract_if(.., |(key, _)| key == otlp::SERVICE).last();
        let name = settings.service_name.clone().or(named.map(|(_, name)| name));
        Self { program, name, set, instance: Uuid::new_v4().to_string() }
    }

    /// What is said about `service`.
    pub fn of(&self, service: &str) -> Vec<KeyValue> {
        let name = self.name.clone().unwrap_or_else(|| service.to_owned());
        let usual = [
            ("service.namespace", "miniapp"),
            ("service.version", self.program.version),
            ("service.instance.id", self.instance.as_str()),
        ];
        let usual =
            usual.into_iter().chain(self.program.revision.map(|it| ("vcs.ref.head.revision", it)));
        let is_set = |key: &str| self.set.iter().any(|(set, _)| set == key);
        let usual = usual.filter(|(key, _)| !is_set(key));
        let usual = usual.map(|(key, value)| KeyValue::new(key, value.to_owned()));
        let set = self.set.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let library = TelemetryResourceDetector.detect();
        let library = library.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let library: Vec<KeyValue> = library.collect();
        let name = [KeyValue::new(otlp::SERVICE, name)];
        name.into_iter().chain(usual).chain(set).chain(library).collect()
    }
}

/// Spans as OpenTelemetry has them. They don't depend on what is logged; faults that are
/// logged within a span become its events.
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
        // The current span is tracing's; nobody here asks OpenTelemetry for it.
        .with_context_activation(false)
        .with_filter(spans.or(faults).and(filter_fn(is_ours_to_tell)))
}

/// Not what RabbitMQ's client says: the broker tells of every outage once, while the client
/// does so for each of its parts, with whole messages and, if asked for every detail,
/// credentials.
fn is_ours_to_tell(metadata: &Metadata<'_>) -> bool {
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

/// A panic is a line in the log, with its trace, like every other fault.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(panic = message, place, "panicked");
    }));
}
