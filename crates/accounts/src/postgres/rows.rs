//! How things are laid out in rows.

use jiff::Timestamp;
use jiff::civil::Date;
use miniapp_types::account::{Account, Role};
use miniapp_types::trace::TraceContext;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::transact::Work;
use crate::session::Session;
use crate::store::{Result, StoreError};

/// The columns that [`account`] reads.
macro_rules! account_columns {
    () => {
        "accounts.id, accounts.login, accounts.email, accounts.roles, accounts.birth_date, \
         accounts.phone_number, accounts.created_at"
    };
}
pub(super) use account_columns;

/// The columns that [`session`] reads.
macro_rules! session_columns {
    () => {
        "sessions.id, sessions.account, sessions.epoch, sessions.created_at, \
         sessions.last_used_at, sessions.expires_at, sessions.ended_at, sessions.ip, \
         sessions.user_agent"
    };
}
pub(super) use session_columns;

/// The account in the columns from the first on.
pub(super) fn account(row: &PgRow, first: usize) -> Result<Account> {
    let birth_date: Option<String> = row.try_get(first + 4)?;
    Ok(Account {
        user_id: row.try_get(first)?,
        login: row.try_get(first + 1)?,
        email: row.try_get(first + 2)?,
        roles: roles(row.try_get(first + 3)?)?,
        birth_date: birth_date.map(|text| text.parse().map_err(broken)).transpose()?,
        phone_number: row.try_get(first + 5)?,
        created_at: time(row.try_get(first + 6)?)?,
    })
}

/// How many columns an account takes.
pub(super) const ACCOUNT_WIDTH: usize = 7;

/// The session in the columns from the first on.
pub(super) fn session(row: &PgRow, first: usize) -> Result<Session> {
    Ok(Session {
        id: row.try_get(first)?,
        account: row.try_get(first + 1)?,
        epoch: count(row, first + 2)?,
        created_at: time(row.try_get(first + 3)?)?,
        last_used_at: time(row.try_get(first + 4)?)?,
        expires_at: time(row.try_get(first + 5)?)?,
        ended_at: row.try_get::<Option<i64>, _>(first + 6)?.map(time).transpose()?,
        ip: row.try_get(first + 7)?,
        user_agent: row.try_get(first + 8)?,
    })
}

/// An account within a transaction.
pub(super) async fn load_account(tx: &mut PgConnection, id: Uuid) -> Work<Option<Account>> {
    let query = concat!("SELECT ", account_columns!(), " FROM accounts WHERE id = $1");
    let row = sqlx::query(query).bind(id).fetch_optional(tx).await?;
    Ok(row.as_ref().map(|row| account(row, 0)).transpose()?)
}

/// A number that isn't negative.
pub(super) fn count(row: &PgRow, index: usize) -> Result<u32> {
    u32::try_from(row.try_get::<i32, _>(index)?).map_err(broken)
}

/// The stored form of such a number.
pub(super) fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The stored form of a time.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// The time in a stored form.
pub(super) fn time(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(broken)
}

/// The stored form of roles.
pub(super) fn role_names(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(Into::into).collect();
    names.join(",")
}

fn roles(names: &str) -> Result<Vec<Role>> {
    names.split(',').map(|name| name.parse().map_err(broken)).collect()
}

/// The stored form of a date.
pub(super) fn date_text(date: Option<Date>) -> Option<String> {
    date.map(|date| date.to_string())
}

/// The bytes of a hash.
pub(super) fn bytes32(row: &PgRow, index: usize) -> Result<[u8; 32]> {
    let bytes: &[u8] = row.try_get(index)?;
    bytes.try_into().map_err(broken)
}

/// The trace in three columns from the first on.
pub(super) fn trace(row: &PgRow, first: usize) -> Result<TraceContext> {
    let part = |index| Ok::<_, StoreError>(row.try_get::<Option<&str>, _>(index)?.map(Into::into));
    Ok(TraceContext {
        traceparent: part(first)?,
        tracestate: part(first + 1)?,
        baggage: part(first + 2)?,
    })
}

/// What was stored can't be read.
pub(super) fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}
