//! Completes routers.

use std::sync::Arc;

use axum::response::Response;
use axum::{Extension, Router};
use http::header::{
    ALLOW, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method};
use miniapp_config::{Config, ConfigError};
use miniapp_types::problem::Code;
use tower::util::MapResponseLayer;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer, ExposeHeaders};

use crate::body::BodyLimits;
use crate::config::{BaggageConfig, CorsConfig, LimitConfig};
use crate::layers::{
    AccessLogLayer, CatchPanicLayer, ClientAddressLayer, MetricsLayer, RequestLog, TraceLayer,
    X_TRACE_ID, add_security_headers,
};
use crate::problem::Problem;
use crate::trusted_proxies::TrustedProxies;

#[derive(Clone, Debug, Default)]
pub struct RouterOptions {
    pub body: BodyLimits,
    /// Web origins that may call; none by default.
    pub cors_origins: Vec<String>,
    pub request_log: RequestLog,
    /// The service of the spans, if the process consists of several.
    pub service: Option<&'static str>,
    /// The keys of baggage that become attributes of spans.
    pub baggage_keys: Arc<[String]>,
    pub proxies: TrustedProxies,
}

impl RouterOptions {
    /// The configured options for the requests of `service`.
    pub fn new(service: &'static str, config: &Config) -> Result<Self, ConfigError> {
        let limits: LimitConfig = config.section()?;
        let CorsConfig { cors_origins } = config.section()?;
        let BaggageConfig { baggage_keys } = config.section()?;
        Ok(Self {
            body: BodyLimits {
                size: limits.body,
                timeout: limits.body_timeout,
                rate: limits.body_rate,
            },
            cors_origins,
            request_log: RequestLog::Normal,
            service: Some(service),
            baggage_keys: baggage_keys.into(),
            proxies: TrustedProxies::new(&limits.trusted_proxies, limits.trusted_hops.into()),
        })
    }
}

/// Completes a router: problems for unknown paths and methods, CORS, traces, metrics, the
/// access log, security headers, body limits, and a problem if a handler panics. To be called
/// once, after the last route is added.
pub fn finish(router: Router, options: &RouterOptions) -> Router {
    let mut router = router
        .fallback(async || Problem::new(Code::NotFound))
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed));
    if !options.cors_origins.is_empty() {
        router = router.layer(cors(&options.cors_origins));
    }
    with_layers(router, options)
}

/// Adds what happens around every request.
pub(crate) fn with_layers(router: Router, options: &RouterOptions) -> Router {
    let trace = TraceLayer {
        service: options.service,
        baggage_keys: options.baggage_keys.clone(),
        has_spans: options.request_log == RequestLog::Normal,
    };
    // The first is the outermost. As one layer they need one box per route.
    router.layer((
        Extension(options.body),
        ClientAddressLayer(options.proxies.clone()),
        trace,
        MetricsLayer,
        AccessLogLayer(options.request_log),
        MapResponseLayer::new(add_security_headers as fn(Response) -> Response),
        CatchPanicLayer,
    ))
}

fn cors(origins: &[String]) -> CorsLayer {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        // The configuration is validated: all of them are URLs.
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    // A page can read no other headers of a response, apart from a few harmless ones.
    let exposed = [X_TRACE_ID, LOCATION, ETAG, RETRY_AFTER, WWW_AUTHENTICATE, ALLOW];
    let accepted = ["authorization", "content-type", "idempotency-key", "last-event-id"];
    let accepted = accepted.map(HeaderName::from_static).into_iter();
    let accepted =
        accepted.chain([IF_MATCH, IF_NONE_MATCH, HeaderName::from_static("traceparent")]);
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(AllowMethods::list([Method::GET, Method::POST, Method::PUT, Method::DELETE]))
        .allow_headers(AllowHeaders::list(accepted))
        .expose_headers(ExposeHeaders::list(exposed))
        .max_age(std::time::Duration::from_mins(10))
}
