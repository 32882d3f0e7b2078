//! What tests of more than one crate need.

pub mod conformance;
pub mod http;
pub mod platform;
mod wait;

pub use wait::{PATIENCE, eventually};
