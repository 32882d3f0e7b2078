//! The HTTP server of a service: routers with problem documents, limits, traces, metrics and
//! logs, and a listener that withstands slow and many clients.
//!
//! Handlers extract [`Body`], [`Query`], [`Id`] and [`Client`], and fail with [`Problem`].
//! [`finish`] completes a router and [`serve`] serves it.

mod bearer;
mod body;
mod client;
mod client_span;
mod config;
mod connection;
mod docs;
mod id;
mod layers;
mod lingering_close;
mod memory;
pub mod openapi;
mod problem;
mod query;
mod rate_limit;
mod router;
mod server;
mod slots;
mod trusted_proxies;

pub use bearer::bearer;
pub use body::{Body, BodyLimits, EmptyBody, read_body, read_json};
pub use client::{Client, Peer};
pub use client_span::ClientSpan;
pub use config::{BaggageConfig, CorsConfig, LimitConfig};
pub use docs::docs;
pub use id::Id;
pub use layers::{RequestLog, X_TRACE_ID};
pub use problem::Problem;
pub use query::Query;
pub use rate_limit::IpRateLimit;
pub use router::{RouterOptions, finish};
pub use server::{ServerOptions, serve};
pub use trusted_proxies::TrustedProxies;
