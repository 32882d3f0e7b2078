//! What is in `observability/`, tried with the programs that it is for: Prometheus on a
//! platform that runs, Jaeger, and the OpenTelemetry Collector.
//!
//! Prometheus is installed like the servers of other tests. Jaeger (`MINIAPP_JAEGER`) and the
//! collector (`MINIAPP_OTELCOL`) are used where they are found, and what isn't tried without
//! them is said.

mod collector;
mod dashboards;
mod jaeger;
mod load;
mod programs;
mod prometheus;
mod rules;
