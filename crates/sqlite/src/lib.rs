//! SQLite as the stores use it: a file in WAL mode, one connection that writes, a few that
//! read, and what can go wrong. It knows nothing of what is stored.

mod error;
mod file;
mod write_lock;

pub use error::DatabaseError;
pub use file::open;
pub use write_lock::WriteLock;
