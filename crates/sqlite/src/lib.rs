//! The SQLite client of the stores: a file in WAL mode with one writing and a few reading
//! connections, migrations and classified errors. It knows nothing about what is stored.

mod error;
mod file;
mod write_lock;

pub use error::DatabaseError;
pub use file::open;
pub use write_lock::WriteLock;
