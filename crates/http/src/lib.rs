//! HTTP as every service speaks it.

mod bearer;
mod body;
mod client;
mod connection;
mod docs;
mod front;
mod id;
mod linger;
mod metrics;
pub mod openapi;
mod outgoing;
mod places;
mod problem;
mod proxies;
mod query;
mod rate;
mod router;
mod server;

pub use bearer::{admins_only, bearer};
pub use body::{Body, BodyLimits, json, read};
pub use client::{Client, Peer};
pub use docs::docs;
pub use front::{Logged, X_TRACE_ID};
pub use id::Id;
pub use outgoing::Outgoing;
pub use problem::Problem;
pub use proxies::Proxies;
pub use query::Query;
pub use rate::PerIp;
pub use router::{RouterOptions, finish};
pub use server::{ServerOptions, serve};
