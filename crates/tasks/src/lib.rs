//! Tasks: the domain with its state machine, the store behind it, and the loops that
//! keep every accepted task moving until it has ended.
//!
//! A task's way: [`Tasks::submit`] commits it with its duty to be dispatched; the
//! relay of the [`Maintenance`] publishes a message about it; a worker claims it by
//! [`Tasks::claim`] and commits the outcome. Maintenance also brings back what a vanished
//! worker held, and tells every commit to whoever streams or runs tasks.

mod batcher;
mod columns;
mod config;
pub mod domain;
pub mod engine;
mod event_publisher;
mod invariants;
mod maintenance;
pub mod metrics;
mod open;
pub mod postgres;
mod relay;
mod spans;
pub mod sqlite;
mod stored;
mod tasks;
mod timeline;
mod writer;

pub use config::RetentionConfig;
pub use domain::{Command, Refusal, Task};
pub use engine::{Claim, Engine, Filter, RenewedLease, StoreError};
pub use maintenance::{Maintenance, Retention};
pub use open::open_engine;
pub use spans::{attempt_span_id, in_batch};
pub use tasks::{Error, NewTask, Submitted, Tasks};
