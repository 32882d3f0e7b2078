//! Durable tasks: the state machine, the stores that persist it, and the background loops
//! that keep every accepted task moving until it reaches a final state.
//!
//! The life of a task:
//!
//! 1. [`Tasks::submit`] commits the task. The outbox entry is a column of the same row.
//! 2. The relay publishes a message about it and waits for the broker's confirmation.
//! 3. A worker claims the task with [`Tasks::claim`] and holds a lease with a fencing token.
//! 4. The worker commits the outcome with [`Tasks::finish`], [`Tasks::retry`] and so on.
//!
//! [`Runtime`] composes these parts for one process: it also returns tasks with an expired
//! lease to the queue, publishes task events and purges old tasks.

mod batcher;
pub mod capabilities;
mod column_values;
mod config;
pub mod domain;
pub mod engine;
mod error;
mod event_publisher;
mod following;
pub mod gauges;
pub mod health;
mod invariants;
mod maintenance;
mod metrics;
mod offers;
mod open;
pub mod postgres;
mod process_lease;
mod reaper;
mod relay;
mod row;
mod runtime;
mod spans;
pub mod sqlite;
mod tasks;
mod timeline;
mod writer;

pub use config::{LeaseConfig, RetentionConfig};
pub use domain::{Command, Refusal, Task};
pub use engine::{Claim, Engine, EventPage, Filter, RenewedLease, StoreError, TimelinePart};
pub use error::Error;
pub use maintenance::Retention;
pub use offers::{Offer, OfferConsumer};
pub use open::open_engine;
pub use process_lease::{ProcessLease, ProcessLeaseError};
pub use runtime::Runtime;
pub use spans::{attempt_span_id, record_attempt};
pub use tasks::{
    Claimable, Claimant, Claimed, Committed, NewTask, Outcome, Submitted, Tasks, check_result,
    task_error, truncated,
};
