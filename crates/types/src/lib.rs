//! HTTP bodies, problem codes and versioned messages of MiniApp.
//!
//! The crate does no I/O and depends on no other crate of the workspace, so that clients can
//! use its types.

pub mod account;
pub mod body;
pub mod fields;
pub mod json;
pub mod limits;
pub mod message;
pub mod name;
pub mod page;
pub mod problem;
pub mod task;
mod time;
pub mod trace;
pub mod worker;
