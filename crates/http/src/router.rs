//! Making a router ready to be served.

use std::sync::Arc;

use axum::Router;
use http::header::{ALLOW, ETAG, HeaderName, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method};
use miniapp_types::problem::Code;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer, ExposeHeaders};

use super::config::{BaggageConfig, CorsConfig, LimitConfig};
use super::front::{Front, RequestLog, X_TRACE_ID};
use super::{BodyLimits, Problem, Proxies};
use miniapp_config::{Config, ConfigError};

/// How a router is served.
#[derive(Clone, Debug, Default)]
pub struct RouterOptions {
    /// What a body may cost.
    pub body: BodyLimits,
    /// Web origins that may call; none by default.
    pub cors_origins: Vec<String>,
    /// How much is said about requests.
    pub request_log: RequestLog,
    /// Whose requests these are, for processes with several parts.
    pub service: Option<&'static str>,
    /// Which of a caller's baggage spans tell of.
    pub baggage_keys: Arc<[String]>,
    /// Who is believed about the addresses of others.
    pub proxies: Proxies,
}

impl RouterOptions {
    /// As `config` says, for the requests of `service`.
    pub fn new(service: &'static str, config: &Config) -> Result<Self, ConfigError> {
        let limits: LimitConfig = config.section()?;
        let CorsConfig { cors_origins } = config.section()?;
        let BaggageConfig { baggage_keys } = config.section()?;
        Ok(Self {
            body: BodyLimits { size: limits.body, timeout: limits.body_timeout },
            cors_origins,
            request_log: RequestLog::Normal,
            service: Some(service),
            baggage_keys: baggage_keys.into(),
            proxies: Proxies::new(&limits.trusted_proxies),
        })
    }
}

/// Adds what every service has around its routes: problems for unknown paths and
/// methods, traces, the log, metrics, security headers, limits, and an answer even where
/// a handler panics. To be called once, when all routes are there.
pub fn finish(router: Router, options: &RouterOptions) -> Router {
    let mut router = router
        .fallback(async || Problem::new(Code::NotFound))
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed));
    if !options.cors_origins.is_empty() {
        router = router.layer(cors(&options.cors_origins));
    }
    router.layer(Front {
        limits: options.body,
        request_log: options.request_log,
        service: options.service,
        baggage_keys: options.baggage_keys.clone(),
        proxies: options.proxies.clone(),
    })
}

fn cors(origins: &[String]) -> CorsLayer {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        // The configuration has been checked: all of them are URLs.
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    // Without this a page sees of an answer little more than its type.
    let exposed = [X_TRACE_ID, LOCATION, ETAG, RETRY_AFTER, WWW_AUTHENTICATE, ALLOW];
    let sent = ["authorization", "content-type", "idempotency-key", "last-event-id"];
    let sent = sent.map(HeaderName::from_static).into_iter();
    let sent = sent.chain([http::header::IF_NONE_MATCH, HeaderName::from_static("traceparent")]);
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(AllowMethods::list([Method::GET, Method::POST, Method::PUT, Method::DELETE]))
        .allow_headers(AllowHeaders::list(sent))
        .expose_headers(ExposeHeaders::list(exposed))
        .max_age(std::time::Duration::from_mins(10))
}
