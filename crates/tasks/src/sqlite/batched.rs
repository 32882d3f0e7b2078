//! Statements over a list of rows.
//!
//! Each comes in a few sizes, filled up with rows of nulls that match nothing, so that it
//! is prepared once a size and not once a length.

use std::fmt::Write as _;
use std::sync::OnceLock;

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Executor, Sqlite, SqliteConnection};

/// The most rows of a statement.
pub(super) const MOST_ROWS: usize = 128;

/// A statement whose arguments are being bound.
pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// A statement over rows of `columns` values, in sizes of powers of two up to [`MOST_ROWS`].
pub(super) struct Batched {
    before: &'static str,
    columns: usize,
    after: &'static str,
    texts: [OnceLock<String>; 8],
}

impl Batched {
    /// The statement that `before`, the rows and `after` make.
    pub const fn new(before: &'static str, columns: usize, after: &'static str) -> Self {
        Self { before, columns, after, texts: [const { OnceLock::new() }; 8] }
    }

    /// Runs the statement over `rows`; how many rows of the table it touched.
    pub async fn execute<'q, T>(
        &'static self,
        connection: &mut SqliteConnection,
        rows: &'q [T],
        bind: impl Fn(Statement<'q>, &'q T) -> Statement<'q>,
    ) -> Result<u64, sqlx::Error> {
        let mut touched = 0;
        for rows in rows.chunks(MOST_ROWS) {
            touched += connection.execute(self.bound(rows, &bind)).await?.rows_affected();
        }
        Ok(touched)
    }

    /// The statement over at most [`MOST_ROWS`] rows, with its arguments.
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
            // Into memory: can't fail.
            let _ = write!(text, "{comma}{row}");
        }
        text + self.after
    }
}
