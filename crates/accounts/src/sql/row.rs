//! Reading rows, independent of the database.

use jiff::Timestamp;
use miniapp_runtime::clock;
use miniapp_types::account::{Account, Role, Scope};
use miniapp_types::trace::TraceContext;
use sqlx::{ColumnIndex, Decode, Type};
use uuid::Uuid;

use crate::api_key::{ApiKey, ApiKeyUsage};
use crate::audit::AuditEntry;
use crate::mail::{InboxMail, Mail};
use crate::outbox::{OutboxBacklog, OutboxRow};
use crate::refresh_token::Salt;
use crate::session::{Session, SpentToken};
use crate::store::{Result, SealedKey, StoreError};
use crate::token_hash::TokenHash;

/// A row with columns of the type `T`.
pub(crate) trait Column<T> {
    fn column(&self, index: usize) -> Result<T>;
}

impl<R, T> Column<T> for R
where
    R: sqlx::Row,
    usize: ColumnIndex<R>,
    T: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    fn column(&self, index: usize) -> Result<T> {
        self.try_get(index).map_err(broken)
    }
}

/// A row of either database.
pub(crate) trait Row:
    Column<bool>
    + Column<i32>
    + Column<i64>
    + Column<Option<i64>>
    + Column<String>
    + Column<Option<String>>
    + Column<Uuid>
    + Column<Option<Uuid>>
    + Column<Vec<u8>>
    + Column<Option<Vec<u8>>>
    + Send
    + Sync
{
}

impl<R> Row for R where
    R: Column<bool>
        + Column<i32>
        + Column<i64>
        + Column<Option<i64>>
        + Column<String>
        + Column<Option<String>>
        + Column<Uuid>
        + Column<Option<Uuid>>
        + Column<Vec<u8>>
        + Column<Option<Vec<u8>>>
        + Send
        + Sync
{
}

/// Columns of an account, in the order that [`Reader::account`] reads them.
macro_rules! account_columns {
    () => {
        "accounts.id, accounts.login, accounts.email, accounts.roles, accounts.birth_date, \
         accounts.phone_number, accounts.created_at, accounts.disabled_at IS NOT NULL"
    };
}
pub(super) use account_columns;

/// Columns of a session, in the order that [`Reader::session`] reads them.
macro_rules! session_columns {
    () => {
        "sessions.id, sessions.account, sessions.client, sessions.epoch, sessions.created_at, \
         sessions.last_used_at, sessions.expires_at, sessions.ended_at, sessions.ip, \
         sessions.user_agent"
    };
}
pub(super) use session_columns;

/// Columns of an API key, in the order that [`Reader::api_key`] reads them.
macro_rules! api_key_columns {
    () => {
        "api_keys.id, api_keys.account, api_keys.name, api_keys.prefix, api_keys.scopes, \
         api_keys.epoch, api_keys.created_at, api_keys.expires_at, api_keys.last_used_at, \
         api_keys.revoked_at"
    };
}
pub(super) use api_key_columns;

/// Reads a row from left to right.
pub(crate) struct Reader<'r, R> {
    row: &'r R,
    index: usize,
}

impl<'r, R: Row> Reader<'r, R> {
    pub fn new(row: &'r R) -> Self {
        Self { row, index: 0 }
    }

    pub fn read<T>(&mut self) -> Result<T>
    where
        R: Column<T>,
    {
        self.index += 1;
        self.row.column(self.index - 1)
    }

    pub fn count(&mut self) -> Result<u32> {
        u32::try_from(self.read::<i32>()?).map_err(broken)
    }

    pub fn time(&mut self) -> Result<Timestamp> {
        time(self.read()?)
    }

    pub fn optional_time(&mut self) -> Result<Option<Timestamp>> {
        self.read::<Option<i64>>()?.map(time).transpose()
    }

    pub fn bytes32(&mut self) -> Result<[u8; 32]> {
        bytes32(&self.read::<Vec<u8>>()?)
    }

    pub fn account(&mut self) -> Result<Account> {
        Ok(Account {
            user_id: self.read()?,
            login: self.read()?,
            email: self.read()?,
            roles: roles(&self.read::<String>()?)?,
            birth_date: self
                .read::<Option<String>>()?
                .map(|text| text.parse().map_err(broken))
                .transpose()?,
            phone_number: self.read()?,
            created_at: self.time()?,
            disabled: self.read()?,
        })
    }

    pub fn session(&mut self) -> Result<Session> {
        Ok(Session {
            id: self.read()?,
            account: self.read()?,
            client: self.read()?,
            epoch: self.count()?,
            created_at: self.time()?,
            last_used_at: self.time()?,
            expires_at: self.time()?,
            ended_at: self.optional_time()?,
            ip: self.read()?,
            user_agent: self.read()?,
        })
    }

    pub fn spent_token(&mut self) -> Result<SpentToken> {
        Ok(SpentToken {
            session: self.session()?,
            current: TokenHash(self.bytes32()?),
            salt: self
                .read::<Option<Vec<u8>>>()?
                .map(|salt| bytes32(&salt).map(Salt))
                .transpose()?,
        })
    }

    pub fn api_key(&mut self) -> Result<ApiKey> {
        Ok(ApiKey {
            id: self.read()?,
            account: self.read()?,
            name: self.read()?,
            prefix: self.read()?,
            scopes: scopes(&self.read::<String>()?),
            epoch: self.count()?,
            created_at: self.time()?,
            expires_at: self.optional_time()?,
            last_used_at: self.optional_time()?,
            revoked_at: self.optional_time()?,
        })
    }

    pub fn api_key_usage(&mut self) -> Result<ApiKeyUsage> {
        Ok(ApiKeyUsage {
            stored: self.read::<i64>()?.cast_unsigned(),
            created: self.read::<i64>()?.cast_unsigned(),
            created_since: self.optional_time()?,
        })
    }

    /// Reads the columns of an account, which are null if there is none, after its id.
    pub fn optional_account(&mut self) -> Result<Option<Account>> {
        self.read::<Option<Uuid>>()?.map(|_| self.account()).transpose()
    }

    pub fn outbox_row(&mut self) -> Result<OutboxRow> {
        Ok(OutboxRow {
            id: self.read()?,
            kind: self.read::<String>()?.parse().map_err(broken)?,
            payload: self.read()?,
            trace: self.trace()?,
            due_at: self.time()?,
            not_after: self.optional_time()?,
            attempts: self.count()?,
        })
    }

    pub fn outbox_backlog(&mut self) -> Result<OutboxBacklog> {
        Ok(OutboxBacklog {
            kind: self.read::<String>()?.parse().map_err(broken)?,
            count: self.read::<i64>()?.cast_unsigned(),
            since: clock::time_of(self.read()?).unwrap_or_default(),
        })
    }

    pub fn audit_entry(&mut self) -> Result<AuditEntry> {
        Ok(AuditEntry {
            id: self.read()?,
            at: self.time()?,
            action: self.read()?,
            outcome: self.read()?,
            account: self.read()?,
            login: self.read()?,
            actor: self.read()?,
            actor_login: self.read()?,
            session: self.read()?,
            api_key: self.read()?,
            roles_before: self.optional_roles()?,
            roles_after: self.optional_roles()?,
            ip: self.read()?,
            count: self.read::<i64>()?.cast_unsigned(),
        })
    }

    pub fn signing_key(&mut self) -> Result<SealedKey> {
        Ok(SealedKey {
            kid: self.read()?,
            follows: self.read()?,
            public: self.bytes32()?,
            sealed: self.read()?,
            signs_from: self.time()?,
        })
    }

    pub fn inbox_mail(&mut self) -> Result<InboxMail> {
        Ok(InboxMail {
            at: self.time()?,
            mail: Mail {
                id: self.read()?,
                to: self.read()?,
                subject: self.read()?,
                text: self.read()?,
                html: self.read()?,
            },
        })
    }

    fn optional_roles(&mut self) -> Result<Option<Vec<Role>>> {
        self.read::<Option<String>>()?.as_deref().map(roles).transpose()
    }

    fn trace(&mut self) -> Result<TraceContext> {
        Ok(TraceContext {
            traceparent: self.read::<Option<String>>()?.map(Into::into),
            tracestate: self.read::<Option<String>>()?.map(Into::into),
            baggage: self.read::<Option<String>>()?.map(Into::into),
        })
    }
}

/// Reads the first row, if there is one.
pub(super) fn first<R: Row, T>(
    rows: &[R],
    read: impl FnOnce(Reader<'_, R>) -> Result<T>,
) -> Result<Option<T>> {
    rows.first().map(|row| read(Reader::new(row))).transpose()
}

/// Reads all rows.
pub(super) fn all<R: Row, T>(
    rows: &[R],
    read: impl Fn(Reader<'_, R>) -> Result<T>,
) -> Result<Vec<T>> {
    rows.iter().map(|row| read(Reader::new(row))).collect()
}

fn bytes32(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(broken)
}

fn time(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(broken)
}

fn roles(names: &str) -> Result<Vec<Role>> {
    names.split(',').map(|name| name.parse().map_err(broken)).collect()
}

/// Ignores scopes of later versions.
fn scopes(names: &str) -> Vec<Scope> {
    names.split(',').filter_map(|name| name.parse().ok()).collect()
}

/// A stored value that can't be read.
fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}
