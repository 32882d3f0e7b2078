//! Console output of `miniapp serve`.

mod curl;
mod reporter;
mod throttle;

pub use reporter::report;
