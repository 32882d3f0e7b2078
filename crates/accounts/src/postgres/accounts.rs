//! Accounts.

use jiff::Timestamp;
use miniapp_types::account::{Account, Role};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::rows::{self, ACCOUNT_WIDTH, account_columns, date_text, micros, role_names};
use super::transact::{Outcome, Work};
use super::{audit, outbox, sessions};
use crate::audit::Entry;
use crate::login::Login;
use crate::outbox::OutboxRow;
use crate::password::Hash;
use crate::store::{
    AccountChanges, Credentials, Identifier, NewAccount, Registered, Result, Updated,
};
use miniapp_postgres::Database;

pub(super) async fn register(tx: &mut PgConnection, new: &NewAccount) -> Work<Outcome<Registered>> {
    // Undone with everything else unless the account comes to stand.
    let verified = sqlx::query("DELETE FROM verified_emails WHERE email = $1 AND expires_at > $2")
        .bind(new.email.as_str())
        .bind(micros(new.now))
        .execute(&mut *tx)
        .await?;
    if verified.rows_affected() == 0 {
        return Ok(Outcome::Undo(Registered::NotVerified));
    }
    let same_email = sqlx::query("SELECT 1 FROM accounts WHERE email = $1")
        .bind(new.email.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    if same_email.is_some() {
        return Ok(Outcome::Undo(Registered::EmailTaken));
    }
    if is_taken(tx, &new.login, new.id).await? {
        return Ok(Outcome::Undo(Registered::LoginTaken));
    }
    sqlx::query(
        "INSERT INTO accounts \
         (id, login, login_key, email, password, roles, birth_date, phone_number, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(new.id)
    .bind(new.login.as_str())
    .bind(new.login.key())
    .bind(new.email.as_str())
    .bind(new.password.as_str())
    .bind(role_names(&new.roles))
    .bind(date_text(new.birth_date))
    .bind(&new.phone_number)
    .bind(micros(new.now))
    .execute(&mut *tx)
    .await?;
    add_looks(tx, &new.login, new.id).await?;
    let account = Account {
        user_id: new.id,
        login: new.login.as_str().to_owned(),
        email: new.email.to_string(),
        roles: new.roles.clone(),
        birth_date: new.birth_date,
        phone_number: new.phone_number.clone(),
        created_at: new.now,
    };
    audit::add(tx, &new.audit.clone().about(&account)).await?;
    Ok(Outcome::Keep(Registered::Done(account)))
}

pub(super) async fn by_id(database: &Database, id: Uuid) -> Result<Option<Account>> {
    const FIND: &str = concat!("SELECT ", account_columns!(), " FROM accounts WHERE id = $1");
    let row = database.fetch_optional(|| sqlx::query(FIND).bind(id)).await?;
    row.as_ref().map(|row| rows::account(row, 0)).transpose()
}

pub(super) async fn credentials(
    database: &Database,
    of: &Identifier,
) -> Result<Option<Credentials>> {
    let (query, value) = match of {
        Identifier::LoginKey(key) => (
            concat!("SELECT ", account_columns!(), ", password FROM accounts WHERE login_key = $1"),
            key.as_str(),
        ),
        Identifier::Email(email) => (
            concat!("SELECT ", account_columns!(), ", password FROM accounts WHERE email = $1"),
            email.as_str(),
        ),
    };
    let Some(row) = database.fetch_optional(|| sqlx::query(query).bind(value)).await? else {
        return Ok(None);
    };
    let password = Hash::stored(row.try_get::<&str, _>(ACCOUNT_WIDTH)?);
    Ok(Some(Credentials { account: rows::account(&row, 0)?, password }))
}

pub(super) async fn list(
    database: &Database,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Account>> {
    let query = concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts WHERE id < $1 ORDER BY id DESC LIMIT $2"
    );
    let before = before.unwrap_or(Uuid::max());
    let statement = || sqlx::query(query).bind(before).bind(i64::from(limit));
    let found = database.fetch_all(statement).await?;
    found.iter().map(|row| rows::account(row, 0)).collect()
}

pub(super) async fn update(
    tx: &mut PgConnection,
    id: Uuid,
    changes: &AccountChanges,
    entry: &Entry,
) -> Work<Outcome<Updated>> {
    let Some(mut account) = rows::load_account(tx, id).await? else {
        return Ok(Outcome::Undo(Updated::Unknown));
    };
    if let Some(login) = &changes.login {
        if is_taken(tx, login, id).await? {
            return Ok(Outcome::Undo(Updated::LoginTaken));
        }
        sqlx::query("UPDATE accounts SET login = $1, login_key = $2 WHERE id = $3")
            .bind(login.as_str())
            .bind(login.key())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM login_looks WHERE account = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        add_looks(tx, login, id).await?;
        login.as_str().clone_into(&mut account.login);
    }
    account.birth_date = changes.birth_date.unwrap_or(account.birth_date);
    account.phone_number = changes.phone_number.clone().unwrap_or(account.phone_number);
    sqlx::query("UPDATE accounts SET birth_date = $1, phone_number = $2 WHERE id = $3")
        .bind(date_text(account.birth_date))
        .bind(&account.phone_number)
        .bind(id)
        .execute(&mut *tx)
        .await?;
    audit::add(tx, entry).await?;
    Ok(Outcome::Keep(Updated::Done(account)))
}

pub(super) async fn set_roles(
    tx: &mut PgConnection,
    id: Uuid,
    roles: &[Role],
    news: &OutboxRow,
    entry: &Entry,
) -> Work<Outcome<Option<Account>>> {
    sqlx::query("UPDATE accounts SET roles = $1 WHERE id = $2")
        .bind(role_names(roles))
        .bind(id)
        .execute(&mut *tx)
        .await?;
    let Some(account) = rows::load_account(tx, id).await? else {
        return Ok(Outcome::Undo(None));
    };
    sqlx::query("UPDATE sessions SET epoch = epoch + 1 WHERE account = $1 AND ended_at IS NULL")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    outbox::add(tx, news).await?;
    audit::add(tx, entry).await?;
    Ok(Outcome::Keep(Some(account)))
}

pub(super) async fn delete(
    tx: &mut PgConnection,
    id: Uuid,
    now: Timestamp,
    news: &OutboxRow,
    entry: &Entry,
) -> Work<Outcome<Option<Vec<Uuid>>>> {
    let deleted =
        sqlx::query("DELETE FROM accounts WHERE id = $1").bind(id).execute(&mut *tx).await?;
    if deleted.rows_affected() == 0 {
        return Ok(Outcome::Undo(None));
    }
    let ended = sessions::end_all(tx, id, None, now).await?;
    outbox::add(tx, news).await?;
    audit::add(tx, entry).await?;
    Ok(Outcome::Keep(Some(ended)))
}

async fn is_taken(tx: &mut PgConnection, login: &Login, by_other_than: Uuid) -> Work<bool> {
    let same_key = sqlx::query("SELECT 1 FROM accounts WHERE login_key = $1 AND id <> $2")
        .bind(login.key())
        .bind(by_other_than)
        .fetch_optional(&mut *tx)
        .await?;
    if same_key.is_some() {
        return Ok(true);
    }
    for look in login.looks() {
        let same_look = sqlx::query("SELECT 1 FROM login_looks WHERE look = $1 AND account <> $2")
            .bind(look)
            .bind(by_other_than)
            .fetch_optional(&mut *tx)
            .await?;
        if same_look.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn add_looks(tx: &mut PgConnection, login: &Login, account: Uuid) -> Work<()> {
    for look in login.looks() {
        sqlx::query("INSERT INTO login_looks (look, account) VALUES ($1, $2)")
            .bind(look)
            .bind(account)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}
