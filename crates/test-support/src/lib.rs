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

/// Whether tests are to leave out everything that needs a server: `MINIAPP_TESTS` is
/// `embedded`. Otherwise a server that isn't installed is a failure, lest nobody notices
/// what isn't tested.
pub fn only_embedded() -> bool {
    std::env::var_os("MINIAPP_TESTS").is_some_and(|tests| tests == "embedded")
}
