//! HTTP as every service speaks it.

mod body;
mod id;
mod problem;
mod query;

pub use body::Body;
pub use id::Id;
pub use problem::Problem;
pub use query::Query;
