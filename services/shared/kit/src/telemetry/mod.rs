//! Logs and traces of a process.

mod log;
pub(crate) mod otlp;
mod sampling;

use std::io::IsTerminal as _;
use std::sync::LazyLock;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};
use uuid::Uuid;

use crate::Service;
use crate::config::{Config, LogFormat};
use crate::trace::{self, SpanStore};
use log::{LogLayer, Style};
use sampling::Sampler;
pub use sampling::{Sampling, SamplingFault};

/// The telemetry of this process.
#[derive(Clone, Debug)]
pub struct Telemetry {
    spans: SpanStore,
    log_filter: LogFilter,
    provider: SdkTracerProvider,
}

/// What is logged; can be changed while the process runs.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// What the process has; it can only have one.
static INSTALLED: Mutex<Option<Telemetry>> = Mutex::new(None);

/// Starts logs and traces. The first call of a process decides, later ones (of tests)
/// get what is there.
pub fn init(service: Service, config: &Config) -> anyhow::Result<Telemetry> {
    let mut installed = INSTALLED.lock();
    if let Some(telemetry) = &*installed {
        return Ok(telemetry.clone());
    }
    let spans = SpanStore::default();
    let provider = tracer_provider(service, config, spans.clone())?;
    let filter = EnvFilter::try_new(&config.log.level).context("log.level")?;
    let (filter, handle) = reload::Layer::new(filter);
    let filter = filter.and(filter_fn(is_ours_to_tell));
    let log = LogLayer::new(style(config.log.format), std::io::stderr);
    let tracer = provider.tracer("miniapp");
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(span_layer(tracer.clone()))
        .try_init()
        .context("another log is in place already")?;
    // Set here alone, and the lock is held.
    let _ = trace::TRACER.set(tracer);
    log_panics();
    let telemetry = Telemetry { spans, log_filter: LogFilter(handle), provider };
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

    /// Sends what hasn't been sent. To be called before the process ends.
    pub fn flush(&self) {
        if let Err(error) = self.provider.force_flush() {
            tracing::warn!(error = error.to_string(), "the last spans could not be sent");
        }
    }
}

impl LogFilter {
    /// The filter in force.
    pub fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Puts `filter` in force, such as `info,kit=debug`.
    pub fn set(&self, filter: &str) -> anyhow::Result<()> {
        let filter = EnvFilter::builder().parse(filter.trim())?;
        self.0.reload(filter)?;
        Ok(())
    }
}

fn tracer_provider(
    service: Service,
    config: &Config,
    spans: SpanStore,
) -> anyhow::Result<SdkTracerProvider> {
    let sampling = Sampling::parse(&config.telemetry.sampler, &config.telemetry.sampler_arg)?;
    let resource = Resource::builder_empty().with_attributes(identity(service, config)).build();
    // Whatever sends spans elsewhere is one more processor here.
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::new(sampling))
        .with_span_processor(spans)
        .build())
}

/// Who this process is, in what it sends to a collector.
pub(crate) fn identity(service: Service, config: &Config) -> impl Iterator<Item = KeyValue> + '_ {
    /// Tells replicas apart.
    static INSTANCE: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().to_string());
    attributes(&config.telemetry.resource_attributes).chain([
        KeyValue::new("service.name", service.name()),
        KeyValue::new("service.namespace", "miniapp"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", INSTANCE.as_str()),
    ])
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

/// `key=value,key=value`, as `OTEL_RESOURCE_ATTRIBUTES` has it.
fn attributes(text: &str) -> impl Iterator<Item = KeyValue> + '_ {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| KeyValue::new(key.trim().to_owned(), value.trim().to_owned()))
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
