//! The store and the broker as a process reaches them: with delays, and not always.

mod link;
mod store;

pub use link::Link;
pub use store::StorePort;
