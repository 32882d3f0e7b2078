//! What `miniapp serve` says while the platform runs.

mod news;
mod steps;
mod trees;

pub use news::tell;
