//! The store in SQL, written once for PostgreSQL and SQLite.
//!
//! An [`Engine`] is what differs: how statements run, how transactions begin and end, and
//! the few statements that the databases spell differently.

mod engine;
mod postgres;
mod row;
mod sqlite;
mod statement;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod transaction;

pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;
