//! JSON by value: exact comparison, and errors with their path.
//!
//! `serde_json` reads numbers as floats, keeps the last of several members with one name, and
//! reports an error without its place. Here each level of a document is read as raw JSON, so
//! that numbers stay as they are written. Reading costs time proportional to size and depth,
//! so the depth is limited.

mod canonical;
mod check;
mod decimal;
mod node;

pub use canonical::canonical;
pub(crate) use check::check_text;
pub use check::{MAX_DEPTH, check, depth};
pub(crate) use decimal::Decimal;
pub(crate) use node::{Node, decoded};
