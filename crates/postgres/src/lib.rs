//! PostgreSQL as the stores use it: connections, migrations, what can go wrong, and its
//! clock. It knows nothing of what is stored.

mod clock;
mod database;
mod error;
mod metrics;
mod transaction;

pub use clock::{DatabaseClock, open_clock};
pub use database::{Database, Statement, with_timeout};
pub use error::DatabaseError;
pub use transaction::Transaction;
