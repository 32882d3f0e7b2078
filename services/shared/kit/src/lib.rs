//! What every service does the same way: configuration, time, telemetry, the HTTP
//! server and its errors, health, and how a process starts and stops.

pub mod clock;
pub mod config;
pub mod http;
pub mod lifecycle;
mod service;
pub mod telemetry;
pub mod trace;

pub use service::Service;
