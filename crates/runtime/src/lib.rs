//! What every long-running component needs: a clock, the shutdown signal, health checks,
//! retries, a directory for private files, the networks of clients, and text that is safe on a
//! terminal.

pub mod backoff;
pub mod clock;
pub mod clock_step;
pub mod data_dir;
pub mod health;
pub mod network;
pub mod retry;
pub mod shutdown;
pub mod terminal;
