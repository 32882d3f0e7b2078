//! Statements with their parameters, independent of the database.

use jiff::Timestamp;
use jiff::civil::Date;
use miniapp_types::account::{Role, Scope};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Database, Encode, IntoArguments, Postgres, Sqlite, Type};
use uuid::Uuid;

/// A statement and its parameters. It can be built into a query again for each retry.
#[derive(Clone, Debug)]
pub(crate) struct Statement<'v> {
    pub text: &'static str,
    values: Vec<Value<'v>>,
}

/// A parameter. Times are stored as microseconds since 1970, dates and roles as text.
#[derive(Clone, Debug)]
pub(crate) enum Value<'v> {
    Uuid(Option<Uuid>),
    Text(Option<&'v str>),
    Owned(Option<String>),
    Integer(Option<i64>),
    Bytes(Option<&'v [u8]>),
}

impl<'v> Statement<'v> {
    pub fn new(text: &'static str) -> Self {
        Self { text, values: Vec::new() }
    }

    /// Adds the next parameter, `$1` first.
    pub fn bind(mut self, value: impl Into<Value<'v>>) -> Self {
        self.values.push(value.into());
        self
    }

    pub fn for_postgres(&self) -> Query<'_, Postgres, PgArguments> {
        self.bind_to(sqlx::query(self.text))
    }

    pub fn for_sqlite(&self) -> Query<'_, Sqlite, SqliteArguments> {
        self.bind_to(sqlx::query(self.text))
    }

    /// Binds the parameters to a query whose text may differ.
    pub fn bind_to<'q, D>(&'q self, query: Query<'q, D, D::Arguments>) -> Query<'q, D, D::Arguments>
    where
        D: Database,
        D::Arguments: IntoArguments<D>,
        Option<Uuid>: Encode<'q, D> + Type<D>,
        Option<&'q str>: Encode<'q, D> + Type<D>,
        Option<i64>: Encode<'q, D> + Type<D>,
        Option<&'q [u8]>: Encode<'q, D> + Type<D>,
    {
        self.values.iter().fold(query, |query, value| match value {
            Value::Uuid(id) => query.bind(*id),
            Value::Text(text) => query.bind(*text),
            Value::Owned(text) => query.bind(text.as_deref()),
            Value::Integer(number) => query.bind(*number),
            Value::Bytes(bytes) => query.bind(*bytes),
        })
    }
}

impl From<Uuid> for Value<'_> {
    fn from(id: Uuid) -> Self {
        Self::Uuid(Some(id))
    }
}

impl From<Option<Uuid>> for Value<'_> {
    fn from(id: Option<Uuid>) -> Self {
        Self::Uuid(id)
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(Some(number.into()))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(time: Timestamp) -> Self {
        Self::Integer(Some(time.as_microsecond()))
    }
}

impl From<Option<Timestamp>> for Value<'_> {
    fn from(time: Option<Timestamp>) -> Self {
        Self::Integer(time.map(Timestamp::as_microsecond))
    }
}

impl From<Option<Date>> for Value<'_> {
    fn from(date: Option<Date>) -> Self {
        Self::Owned(date.map(|date| date.to_string()))
    }
}

impl From<&[Role]> for Value<'_> {
    fn from(roles: &[Role]) -> Self {
        let names: Vec<&str> = roles.iter().map(Into::into).collect();
        Self::Owned(Some(names.join(",")))
    }
}

impl From<&[Scope]> for Value<'_> {
    fn from(scopes: &[Scope]) -> Self {
        let names: Vec<&str> = scopes.iter().map(Into::into).collect();
        Self::Owned(Some(names.join(",")))
    }
}

impl From<Option<&[Role]>> for Value<'_> {
    fn from(roles: Option<&[Role]>) -> Self {
        roles.map_or(Self::Owned(None), Self::from)
    }
}

impl<'v> From<&'v [u8]> for Value<'v> {
    fn from(bytes: &'v [u8]) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl<'v> From<&'v [u8; 32]> for Value<'v> {
    fn from(bytes: &'v [u8; 32]) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl<'v> From<Option<&'v [u8; 32]>> for Value<'v> {
    fn from(bytes: Option<&'v [u8; 32]>) -> Self {
        Self::Bytes(bytes.map(<[u8; 32]>::as_slice))
    }
}
