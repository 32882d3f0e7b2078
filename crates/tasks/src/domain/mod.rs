//! Tasks and their state machine: pure, without I/O and without a clock.

mod machine;
mod task;
mod view;

pub use machine::{Command, MAX_LOST_LEASES, Refusal, TTL_EXCEEDED, Transition};
pub use task::{Spec, State, Task};
pub use view::TaskView;
