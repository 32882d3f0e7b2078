//! What tests of more than one crate need.

pub mod audit;
pub mod certificate;
pub mod collector;
pub mod conformance;
pub mod http;
pub mod jaeger;
pub mod platform;
pub mod ports;
pub mod postgres;
pub mod proxy;
pub mod rabbit;
pub mod smtp;
mod store;
pub mod task;
pub mod traces;
mod wait;

pub use store::{MemoryStore, Row};
pub use wait::{PATIENCE, eventually};
