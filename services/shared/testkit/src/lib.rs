//! What tests of more than one crate need.

pub mod conformance;
