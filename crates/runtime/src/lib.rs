//! What the components of a service are given: time, the request to stop, health checks,
//! retries, and a directory for private files.

pub mod clock;
pub mod data_dir;
pub mod health;
pub mod lifecycle;
pub mod trouble;
