//! What every long-running component needs: a clock, the shutdown signal, health checks,
//! retries, and a directory for private files.

pub mod backoff;
pub mod clock;
pub mod clock_step;
pub mod data_dir;
pub mod health;
pub mod retry;
pub mod shutdown;
