//! The SQLite client of the stores: a file in WAL mode with one writing and a few reading
//! connections, migrations, backups and classified errors. It knows nothing about what is stored.

mod backup;
mod error;
mod file;
mod file_error;
mod replacement;
mod schema;
mod write_lock;

pub use backup::{back_up, check};
pub use error::DatabaseError;
pub use file::{file_of, open, url_of};
pub use file_error::FileError;
pub use replacement::{Replacement, close_log};
pub use schema::Schema;
pub use write_lock::WriteLock;
