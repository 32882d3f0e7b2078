//! Tasks: the domain with its state machine, the store behind it, and the loops that
//! keep every accepted task moving until it has ended.
//!
//! A task's way: [`Tasks::submit`] commits it with its duty to be dispatched; the
//! relay of the [`Upkeep`] publishes a message about it; a worker claims it by
//! [`Tasks::claim`] and commits the outcome. Upkeep also brings back what a vanished
//! worker held, and tells every commit to whoever streams or runs tasks.

mod columns;
mod combiner;
pub mod domain;
pub mod engine;
pub mod metrics;
mod news;
mod open;
pub mod postgres;
mod relay;
mod rules;
mod spans;
pub mod sqlite;
mod stored;
mod tasks;
mod timeline;
mod upkeep;
mod writer;

pub use domain::{Command, Refusal, Task};
pub use engine::{Claim, Engine, Filter, Renewed, StoreError};
pub use open::open_engine;
pub use spans::{attempt_id, in_batch};
pub use tasks::{Error, NewTask, Submitted, Tasks};
pub use upkeep::{Retention, Upkeep};
