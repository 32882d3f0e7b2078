//! What every service does the same way: configuration, time, telemetry, the HTTP
//! server and its errors, health, and how a process starts and stops.

pub mod admin;
mod bootstrap;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod openapi;
pub mod release;
mod service;
pub mod telemetry;
pub mod token;
pub mod trace;
pub mod trouble;

pub use bootstrap::{Boot, listen, run, run_with};
pub use service::Service;
