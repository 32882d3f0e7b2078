//! The configuration in `observability/`, tested with its programs: Prometheus on a running
//! platform, Jaeger, and the OpenTelemetry Collector.
//!
//! `MINIAPP_JAEGER` and `MINIAPP_OTELCOL` name programs that are not in the `PATH`.

mod collector;
mod dashboards;
mod jaeger;
mod load;
mod programs;
mod prometheus;
mod rules;
