//! Tests of both brokers.

mod memory;
mod rabbit;
