//! Simulated access to the store and the broker, with delays and faults.

mod broker;
mod store;

pub use broker::BrokerPort;
pub use store::StorePort;
