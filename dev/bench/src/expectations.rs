//! Targets of the main figures, which depend on the engines.

use crate::figures::{Expectation, Target};

/// Targets and machine limits of a platform's main figures.
#[derive(Clone, Copy, Debug)]
pub struct Expectations {
    /// Finished tasks per second.
    pub finished: Expectation,
    /// Median milliseconds from submission to the finished event on an idle platform.
    pub idle: Expectation,
    /// Reads of single tasks per second.
    pub gets: Expectation,
}

impl Expectations {
    /// For the platform in one process.
    pub const EMBEDDED: Self =
        Self { finished: at_least(8000.0), idle: at_most(1.5), gets: at_least(15_000.0) };

    /// For separate services on PostgreSQL and RabbitMQ, all on two cores.
    pub const SERVERS: Self =
        Self { finished: at_least(5000.0), idle: at_most(2.5), gets: at_least(12_000.0) };
}

const fn at_least(value: f64) -> Expectation {
    Expectation { target: Target::AtLeast(value), limit: None }
}

const fn at_most(value: f64) -> Expectation {
    Expectation { target: Target::AtMost(value), limit: None }
}
