//! Servers, faults, platforms and conformance suites that tests of several crates share.

pub mod certificate;
pub mod collector;
pub mod conformance;
pub mod http;
pub mod jaeger;
pub mod openapi;
pub mod platform;
pub mod ports;
pub mod postgres;
pub mod proxy;
pub mod rabbit;
mod scratch;
pub mod smtp;
mod store;
pub mod task;
pub mod timeline_checks;
pub mod timelines;
pub mod traces;
mod wait;

pub use store::{MemoryStore, Row};
pub use wait::{TIMEOUT, eventually};
