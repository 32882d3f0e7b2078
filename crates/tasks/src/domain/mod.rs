//! Tasks and their state machine: pure, without I/O and without a clock.

mod capability;
mod lost_leases;
mod machine;
mod task;
mod view;

pub use capability::Capability;
pub use lost_leases::{MAX_LOST_LEASES, POISON_AFTER, SUSPECT_AFTER};
pub use machine::{Command, RELEASED, Refusal, TTL_EXCEEDED, Transition};
pub use task::{Spec, State, Task};
pub use view::TaskView;
