//! What crosses a wire between the platform's processes and its clients.
//!
//! HTTP bodies, problem codes and versioned messages, with the rules for reading
//! them. No I/O happens here, and no other crate of the workspace is needed, so that
//! a client can use these types as they are.

pub mod account;
pub mod body;
pub mod fields;
pub mod limits;
pub mod message;
pub mod page;
pub mod problem;
pub mod task;
pub mod trace;
