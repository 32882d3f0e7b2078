//! The standard variables of OpenTelemetry, read as keys of the configuration.

/// Variables and their keys. Of two variables for the same key, the later one wins.
pub(crate) const ALIASES: [(&str, &str); 16] = [
    ("OTEL_TRACES_SAMPLER", "telemetry.sampler"),
    ("OTEL_TRACES_SAMPLER_ARG", "telemetry.sampler_arg"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "telemetry.otlp_traces_endpoint"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "telemetry.otlp_protocol"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "telemetry.otlp_headers"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "telemetry.otlp_compression"),
    ("OTEL_BSP_EXPORT_TIMEOUT", "telemetry.otlp_timeout"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "telemetry.otlp_timeout"),
    ("OTEL_BSP_SCHEDULE_DELAY", "telemetry.batch_delay"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "telemetry.batch_size"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "telemetry.queue_size"),
    ("OTEL_RESOURCE_ATTRIBUTES", "telemetry.resource_attributes"),
    ("OTEL_SERVICE_NAME", "telemetry.service_name"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "telemetry.attribute_length"),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "telemetry.attribute_length"),
];

/// Keys whose standard variables are in milliseconds, without a unit.
pub(crate) const MILLISECONDS: [&str; 2] = ["telemetry.otlp_timeout", "telemetry.batch_delay"];
