//! What figures should be, which depends on the engines.

use super::figures::{Bound, Target};

/// What the figures of a platform are read against.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Tasks finished a second.
    pub finished: Bound,
    /// Milliseconds from a submission to the finished event on an idle platform, in the
    /// middle.
    pub idle: Bound,
    /// Single tasks read a second.
    pub gets: Bound,
}

impl Bounds {
    /// For the engines of a platform in one process.
    pub const EMBEDDED: Self =
        Self { finished: at_least(8000.0), idle: at_most(1.5), gets: at_least(15_000.0) };

    /// For services of their own on PostgreSQL and RabbitMQ, all on two cores.
    pub const SERVERS: Self =
        Self { finished: at_least(5000.0), idle: at_most(2.5), gets: at_least(12_000.0) };
}

const fn at_least(least: f64) -> Bound {
    Bound { target: Target::AtLeast(least), limit: None }
}

const fn at_most(most: f64) -> Bound {
    Bound { target: Target::AtMost(most), limit: None }
}
