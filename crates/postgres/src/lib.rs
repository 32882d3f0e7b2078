//! The PostgreSQL client of the stores: a connection pool with retries, migrations,
//! classified errors and the database's clock. It knows nothing about what is stored.

mod clock;
mod connector;
mod database;
mod error;
mod metrics;
mod migrate;
mod pool;
mod response;
mod statement;
mod transaction;

pub use clock::{DatabaseClock, open_clock};
pub use database::{Database, Statement};
pub use error::DatabaseError;
pub use transaction::Transaction;
