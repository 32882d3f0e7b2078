//! The standard variables of OpenTelemetry, read as keys of the configuration.
//!
//! OpenTelemetry requires that an unusable value is ignored with a warning, and that names are
//! compared without case. So these values are checked here, and not by their section.

use std::ops::RangeInclusive;

use crate::values::is_http_url;

pub(crate) struct Alias {
    pub variable: &'static str,
    pub key: &'static str,
    form: Form,
}

/// What a variable contains.
enum Form {
    Text,
    Url,
    /// True if it is `true` in any case.
    Boolean,
    /// One of these names.
    Name(&'static [&'static str]),
    /// Some of these names, separated by commas.
    Names(&'static [&'static str]),
    Number(RangeInclusive<u64>),
    Milliseconds,
    /// Depends on the sampler.
    SamplerArgument,
}

use Form::{Boolean, Milliseconds, Name, Names, Number, SamplerArgument, Text, Url};

const SAMPLERS: &[&str] = &[
    "always_on",
    "always_off",
    "traceidratio",
    "ratelimited",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
    "parentbased_ratelimited",
];
const PROTOCOLS: &[&str] = &["grpc", "http/protobuf"];
const COMPRESSIONS: &[&str] = &["none", "gzip"];
const PROPAGATORS: &[&str] = &["tracecontext", "baggage", "none"];
const HOUR_IN_MILLISECONDS: u64 = 60 * 60 * 1000;

/// Of two variables for the same key, the later one wins.
pub(crate) const ALIASES: [Alias; 23] = [
    alias("OTEL_SDK_DISABLED", "telemetry.disabled", Boolean),
    alias("OTEL_TRACES_EXPORTER", "telemetry.traces_exporter", Name(&["otlp", "none"])),
    alias("OTEL_PROPAGATORS", "telemetry.propagators", Names(PROPAGATORS)),
    alias("OTEL_TRACES_SAMPLER", "telemetry.sampler", Name(SAMPLERS)),
    alias("OTEL_TRACES_SAMPLER_ARG", "telemetry.sampler_arg", SamplerArgument),
    alias("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint", Url),
    alias("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "telemetry.otlp_traces_endpoint", Url),
    alias("OTEL_EXPORTER_OTLP_PROTOCOL", "telemetry.otlp_protocol", Name(PROTOCOLS)),
    alias("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "telemetry.otlp_protocol", Name(PROTOCOLS)),
    alias("OTEL_EXPORTER_OTLP_HEADERS", "telemetry.otlp_headers", Text),
    alias("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "telemetry.otlp_headers", Text),
    alias("OTEL_EXPORTER_OTLP_COMPRESSION", "telemetry.otlp_compression", Name(COMPRESSIONS)),
    alias(
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "telemetry.otlp_compression",
        Name(COMPRESSIONS),
    ),
    alias("OTEL_BSP_EXPORT_TIMEOUT", "telemetry.otlp_timeout", Milliseconds),
    alias("OTEL_EXPORTER_OTLP_TIMEOUT", "telemetry.otlp_timeout", Milliseconds),
    alias("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "telemetry.otlp_timeout", Milliseconds),
    alias("OTEL_BSP_SCHEDULE_DELAY", "telemetry.batch_delay", Milliseconds),
    alias("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "telemetry.batch_size", Number(1..=65_536)),
    alias("OTEL_BSP_MAX_QUEUE_SIZE", "telemetry.queue_size", Number(1..=1 << 24)),
    alias("OTEL_RESOURCE_ATTRIBUTES", "telemetry.resource_attributes", Text),
    alias("OTEL_SERVICE_NAME", "telemetry.service_name", Text),
    alias("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "telemetry.attribute_length", Number(1..=1 << 16)),
    alias(
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "telemetry.attribute_length",
        Number(1..=1 << 16),
    ),
];

const fn alias(variable: &'static str, key: &'static str, form: Form) -> Alias {
    Alias { variable, key, form }
}

impl Alias {
    /// Returns the value of the key for the `text` of the variable, or what the text must be.
    /// `sampler` is the configured sampler.
    pub fn read(&self, text: &str, sampler: &str) -> Result<String, String> {
        let text = text.trim();
        let name = text.to_ascii_lowercase();
        match &self.form {
            Text => Ok(text.to_owned()),
            Url if is_http_url(text) => Ok(text.to_owned()),
            Url => Err("must be like http://host:4317".to_owned()),
            Boolean if matches!(name.as_str(), "true" | "false") => Ok(name),
            Boolean => Err("must be true or false".to_owned()),
            Name(known) if known.contains(&name.as_str()) => Ok(name),
            Name(known) => Err(format!("must be one of {}", known.join(", "))),
            Names(known) => {
                let names: Vec<&str> = name.split(',').map(str::trim).collect();
                let is_known = names.iter().all(|name| known.contains(name));
                is_known.then(|| names.join(",")).ok_or_else(|| {
                    format!("must contain only {}, separated by commas", known.join(", "))
                })
            }
            Number(range) => in_range(text, range).map(|number| number.to_string()),
            Milliseconds => {
                in_range(text, &(1..=HOUR_IN_MILLISECONDS)).map(|number| format!("{number}ms"))
            }
            SamplerArgument => {
                let is_valid = match sampler.trim_start_matches("parentbased_") {
                    "traceidratio" => {
                        text.parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio))
                    }
                    "ratelimited" | "" => text.parse::<u32>().is_ok(),
                    // The other samplers have none.
                    _ => true,
                };
                let message = "must be a ratio from 0 to 1 for traceidratio, and a whole number \
                               of traces per second for ratelimited";
                is_valid.then(|| text.to_owned()).ok_or_else(|| message.to_owned())
            }
        }
    }
}

fn in_range(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("must be from {} to {}", range.start(), range.end()))
}
