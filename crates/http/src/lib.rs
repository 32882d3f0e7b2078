//! HTTP as every service speaks it.

mod bearer;
mod body;
mod client;
mod client_span;
mod config;
mod connection;
mod docs;
mod front;
mod id;
mod linger;
mod metrics;
pub mod openapi;

mod places;
mod problem;
mod proxies;
mod query;
mod rate;
mod router;
mod server;

pub use bearer::{bearer, require_admin};
pub use body::{Body, BodyLimits, read_body, read_json};
pub use client::{Client, Peer};
pub use client_span::ClientSpan;
pub use config::{BaggageConfig, CorsConfig, LimitConfig};
pub use docs::docs;
pub use front::{RequestLog, X_TRACE_ID};
pub use id::Id;
pub use problem::Problem;
pub use proxies::Proxies;
pub use query::Query;
pub use rate::IpRateLimit;
pub use router::{RouterOptions, finish};
pub use server::{ServerOptions, serve};
