//! PostgreSQL as the stores use it: connections, migrations, what can go wrong, and its
//! clock. It knows nothing of what is stored.

mod clock;
mod database;
mod fault;
mod metrics;
mod transaction;

pub use clock::{DatabaseClock, clock};
pub use database::{Database, Statement, in_time};
pub use fault::Fault;
pub use transaction::Transaction;
