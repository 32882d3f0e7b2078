//! The address of a collector, and how to talk to it.

use std::time::Duration;

use anyhow::Context as _;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use secrecy::ExposeSecret as _;

use crate::config::{OtlpCompression, OtlpProtocol, TelemetryConfig, TracesExporter};
use crate::resource::pairs;

const TRACES_PATH: &str = "v1/traces";
pub(super) const TRACES_METHOD: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");

#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(super) url: String,
    pub(super) protocol: OtlpProtocol,
    pub(super) headers: HeaderMap,
    pub(super) compression: OtlpCompression,
    pub(super) timeout: Duration,
}

impl Target {
    /// Reads `settings`. Returns `None` if they name no endpoint, or disable the export.
    pub fn of(settings: &TelemetryConfig) -> anyhow::Result<Option<Self>> {
        if settings.disabled || settings.traces_exporter == TracesExporter::None {
            return Ok(None);
        }
        let own = settings.otlp_traces_endpoint.as_str();
        let (given, is_full) = match (own, settings.otlp_endpoint.as_str()) {
            ("", "") => return Ok(None),
            ("", base) => (base, false),
            (full, _) => (full, true),
        };
        let uri: Uri = given.parse().context("the collector's URL")?;
        let default =
            if uri.port_u16() == Some(4318) { OtlpProtocol::Http } else { OtlpProtocol::Grpc };
        let protocol = settings.otlp_protocol.unwrap_or(default);
        let url = match protocol {
            OtlpProtocol::Http if !is_full => {
                let (base, query) = given.split_once('?').unzip();
                let base = base.unwrap_or(given).trim_end_matches('/');
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                format!("{base}/{TRACES_PATH}{query}")
            }
            _ => given.to_owned(),
        };
        let headers = settings.otlp_headers.as_ref().map_or("", |headers| headers.expose_secret());
        Ok(Some(Self {
            url,
            protocol,
            headers: pairs(headers).filter_map(header).collect(),
            compression: settings.otlp_compression,
            timeout: settings.otlp_timeout,
        }))
    }
}

fn header((name, value): (String, String)) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some((name.to_lowercase().parse().ok()?, value))
}
