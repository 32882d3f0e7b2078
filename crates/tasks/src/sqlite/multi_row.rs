//! Statements with a list of rows as arguments.
//!
//! Each statement exists in a few sizes and is padded with rows of nulls, which match
//! nothing, so that it is prepared once per size and not once per length.

use std::fmt::Write as _;
use std::sync::OnceLock;

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Executor, Sqlite, SqliteConnection};

/// Maximum number of rows per statement.
pub(super) const MAX_ROWS: usize = 128;

pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// A statement over rows of `columns` values, in sizes of powers of two up to [`MAX_ROWS`].
pub(super) struct MultiRowStatement {
    before: &'static str,
    columns: usize,
    after: &'static str,
    texts: [OnceLock<String>; 8],
}

impl MultiRowStatement {
    /// Creates the statement `before`, rows, `after`.
    pub const fn new(before: &'static str, columns: usize, after: &'static str) -> Self {
        Self { before, columns, after, texts: [const { OnceLock::new() }; 8] }
    }

    /// Executes the statement and returns the number of affected rows.
    pub async fn execute<'q, T>(
        &'static self,
        connection: &mut SqliteConnection,
        rows: &'q [T],
        bind: impl Fn(Statement<'q>, &'q T) -> Statement<'q>,
    ) -> Result<u64, sqlx::Error> {
        let mut affected = 0;
        for rows in rows.chunks(MAX_ROWS) {
            affected += connection.execute(self.bound(rows, &bind)).await?.rows_affected();
        }
        Ok(affected)
    }

    /// Returns the statement with at most [`MAX_ROWS`] rows bound.
    pub fn bound<'q, T>(
        &'static self,
        rows: &'q [T],
        bind: impl Fn(Statement<'q>, &'q T) -> Statement<'q>,
    ) -> Statement<'q> {
        let size = rows.len().next_power_of_two();
        let text = self.texts[size.trailing_zeros() as usize].get_or_init(|| self.text(size));
        let statement = rows.iter().fold(sqlx::query(text.as_str()), bind);
        let missing = (size - rows.len()) * self.columns;
        (0..missing).fold(statement, |statement, _| statement.bind(None::<i64>))
    }

    fn text(&self, size: usize) -> String {
        let row = format!("({}?)", "?, ".repeat(self.columns - 1));
        let mut text = self.before.to_owned();
        for index in 0..size {
            let comma = if index == 0 { "" } else { ", " };
            // Writing to memory cannot fail.
            let _ = write!(text, "{comma}{row}");
        }
        text + self.after
    }
}
