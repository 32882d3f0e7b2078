//! Logs and traces of a process.

mod sampling;

pub use sampling::{Sampling, SamplingFault};
