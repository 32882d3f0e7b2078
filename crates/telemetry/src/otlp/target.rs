//! Where a collector is, and how to speak with it.

use std::time::Duration;

use anyhow::Context as _;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret as _;

use crate::config::{OtlpCompression, OtlpProtocol, TelemetryConfig};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Spans.
    Traces,
    /// Numbers.
    Metrics,
}

impl Signal {
    /// Where it has an endpoint of its own.
    fn endpoint(self, settings: &TelemetryConfig) -> &str {
        match self {
            Self::Traces => &settings.otlp_traces_endpoint,
            Self::Metrics => &settings.otlp_metrics_endpoint,
        }
    }

    /// The path of HTTP below a collector's address.
    fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
        }
    }

    /// The method of gRPC.
    pub(super) fn method(self) -> PathAndQuery {
        PathAndQuery::from_static(match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        })
    }
}

/// Where a signal is sent, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(super) signal: Signal,
    pub(super) url: String,
    pub(super) protocol: OtlpProtocol,
    pub(super) headers: HeaderMap,
    pub(super) compression: OtlpCompression,
    pub(super) timeout: Duration,
}

impl Target {
    /// What `settings` say; `None` if the signal isn't sent.
    pub fn of(signal: Signal, settings: &TelemetryConfig) -> anyhow::Result<Option<Self>> {
        let own = signal.endpoint(settings);
        let (given, is_whole) = match (own, settings.otlp_endpoint.as_str()) {
            ("", "") => return Ok(None),
            ("", base) => (base, false),
            (whole, _) => (whole, true),
        };
        let uri: Uri = given.parse().context("the collector's address")?;
        let usual =
            if uri.port_u16() == Some(4318) { OtlpProtocol::Http } else { OtlpProtocol::Grpc };
        let protocol = settings.otlp_protocol.unwrap_or(usual);
        let url = match protocol {
            OtlpProtocol::Http if !is_whole => {
                format!("{}/{}", given.trim_end_matches('/'), signal.path())
            }
            _ => given.to_owned(),
        };
        let headers = settings.otlp_headers.as_ref().map_or("", |headers| headers.expose_secret());
        Ok(Some(Self {
            signal,
            url,
            protocol,
            headers: pairs(headers).filter_map(header).collect(),
            compression: settings.otlp_compression,
            timeout: settings.otlp_timeout,
        }))
    }
}

/// `key=value,key=value` with percent-encoded values, as OpenTelemetry's variables have it.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split(',').filter_map(|pair| pair.split_once('=')).map(|(key, value)| {
        let value = percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
        (key.trim().to_owned(), value)
    })
}

fn header((name, value): (String, String)) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some((name.to_lowercase().parse().ok()?, value))
}
