//! What tests of more than one crate need.

pub mod certificate;
pub mod conformance;
pub mod http;
pub mod platform;
pub mod rabbit;
mod wait;

pub use wait::{PATIENCE, eventually};

/// Whether tests are to leave out everything that needs a server: `MINIAPP_TESTS` is
/// `embedded`. Otherwise a server that isn't installed is a failure, lest nobody notices
/// what isn't tested.
pub fn only_embedded() -> bool {
    std::env::var_os("MINIAPP_TESTS").is_some_and(|tests| tests == "embedded")
}
