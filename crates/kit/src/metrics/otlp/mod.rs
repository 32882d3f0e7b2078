//! The same numbers in OpenTelemetry's words, for collectors that want to be sent them.

mod push;
mod translate;

use std::fmt;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::encoding::prometheus_protobuf;

use self::translate::Times;
use super::{REGISTRY, asked};

pub(crate) use push::Pusher;

/// All numbers of this process, which is `resource`, as they are between `times`.
async fn request(
    resource: Resource,
    times: Times,
) -> Result<ExportMetricsServiceRequest, fmt::Error> {
    asked::refresh().await;
    let families = prometheus_protobuf::encode(&REGISTRY.read())?;
    let metrics = families.into_iter().filter_map(|family| translate::metric(family, times));
    let scope = InstrumentationScope {
        name: "miniapp".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let metrics =
        ScopeMetrics { scope: Some(scope), metrics: metrics.collect(), ..ScopeMetrics::default() };
    let metrics = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![metrics],
        ..ResourceMetrics::default()
    };
    Ok(ExportMetricsServiceRequest { resource_metrics: vec![metrics] })
}

#[cfg(test)]
mod tests;
