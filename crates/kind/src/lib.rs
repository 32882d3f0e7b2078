//! The code that a task runs.
//!
//! A [`Kind`] turns the input of a task into its output. The [`Context`] connects a running attempt
//! with its worker. An attempt may run again after a crash, so side effects carry the
//! [idempotency key](Context::idempotency_key) of the task or are [steps](Context::step), which are
//! remembered.
//!
//! ```
//! use miniapp_kind::{Context, Kind, KindError};
//!
//! /// Reverses a text.
//! struct Reverse;
//!
//! impl Kind for Reverse {
//!     const NAME: &'static str = "reverse";
//!     const DESCRIPTION: &'static str = "Reverses a text.";
//!     type Input = String;
//!     type Output = String;
//!
//!     async fn run(&self, cx: &Context, text: String) -> Result<String, KindError> {
//!         cx.progress(0.5, "half of it");
//!         Ok(text.chars().rev().collect())
//!     }
//! }
//! ```

mod attempt;
mod context;
mod error;
mod kind;
mod steps;
pub mod testing;

pub use attempt::{AttemptInfo, Host};
pub use context::Context;
pub use error::KindError;
pub use kind::{DEFAULT_QUEUE, Kind};
pub use miniapp_runtime::backoff::Backoff;
pub use schemars;
pub use steps::MAX_STEPS_BYTES;
