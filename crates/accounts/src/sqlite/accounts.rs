//! Accounts.

use jiff::Timestamp;
use miniapp_types::account::{Account, Role};
use sqlx::sqlite::SqlitePool;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::rows::{self, ACCOUNT_WIDTH, account_columns, date_text, micros, role_names};
use super::{Writer, audit, outbox, sessions};
use crate::audit::Entry;
use crate::login::Login;
use crate::outbox::OutboxRow;
use crate::password::Hash;
use crate::store::{
    AccountChanges, Credentials, Identifier, NewAccount, Registered, Result, Updated,
};

pub(super) async fn register(writer: &mut Writer<'_>, new: NewAccount) -> Result<Registered> {
    let mut tx = writer.begin().await?;
    // Undone with everything else unless the account comes to stand.
    let verified = sqlx::query("DELETE FROM verified_emails WHERE email = ? AND expires_at > ?")
        .bind(new.email.as_str())
        .bind(micros(new.now))
        .execute(&mut *tx)
        .await?;
    if verified.rows_affected() == 0 {
        return Ok(Registered::NotVerified);
    }
    let same_email = sqlx::query("SELECT 1 FROM accounts WHERE email = ?")
        .bind(new.email.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    if same_email.is_some() {
        return Ok(Registered::EmailTaken);
    }
    if is_taken(&mut tx, &new.login, new.id).await? {
        return Ok(Registered::LoginTaken);
    }
    sqlx::query(
        "INSERT INTO accounts \
         (id, login, login_key, email, password, roles, birth_date, phone_number, created_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    add_looks(&mut tx, &new.login, new.id).await?;
    let account = Account {
        user_id: new.id,
        login: new.login.as_str().to_owned(),
        email: new.email.to_string(),
        roles: new.roles,
        birth_date: new.birth_date,
        phone_number: new.phone_number,
        created_at: new.now,
    };
    audit::add(&mut tx, &new.audit.about(&account)).await?;
    tx.commit().await?;
    Ok(Registered::Done(account))
}

pub(super) async fn by_id(readers: &SqlitePool, id: Uuid) -> Result<Option<Account>> {
    rows::load_account(&mut *readers.acquire().await?, id).await
}

pub(super) async fn credentials(
    readers: &SqlitePool,
    of: &Identifier,
) -> Result<Option<Credentials>> {
    let (query, value) = match of {
        Identifier::LoginKey(key) => (
            concat!("SELECT ", account_columns!(), ", password FROM accounts WHERE login_key = ?"),
            key.as_str(),
        ),
        Identifier::Email(email) => (
            concat!("SELECT ", account_columns!(), ", password FROM accounts WHERE email = ?"),
            email.as_str(),
        ),
    };
    let Some(row) = sqlx::query(query).bind(value).fetch_optional(readers).await? else {
        return Ok(None);
    };
    let password = Hash::stored(row.try_get::<&str, _>(ACCOUNT_WIDTH)?);
    Ok(Some(Credentials { account: rows::account(&row, 0)?, password }))
}

pub(super) async fn list(
    readers: &SqlitePool,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Account>> {
    let query = concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts WHERE id < ? ORDER BY id DESC LIMIT ?"
    );
    let before = before.unwrap_or(Uuid::max());
    let found = sqlx::query(query).bind(before).bind(limit).fetch_all(readers).await?;
    found.iter().map(|row| rows::account(row, 0)).collect()
}

pub(super) async fn update(
    writer: &mut Writer<'_>,
    id: Uuid,
    changes: AccountChanges,
    entry: Entry,
) -> Result<Updated> {
    let mut tx = writer.begin().await?;
    let Some(mut account) = rows::load_account(&mut tx, id).await? else {
        return Ok(Updated::Unknown);
    };
    if let Some(login) = &changes.login {
        if is_taken(&mut tx, login, id).await? {
            return Ok(Updated::LoginTaken);
        }
        sqlx::query("UPDATE accounts SET login = ?, login_key = ? WHERE id = ?")
            .bind(login.as_str())
            .bind(login.key())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM login_looks WHERE account = ?").bind(id).execute(&mut *tx).await?;
        add_looks(&mut tx, login, id).await?;
        login.as_str().clone_into(&mut account.login);
    }
    account.birth_date = changes.birth_date.unwrap_or(account.birth_date);
    account.phone_number = changes.phone_number.unwrap_or(account.phone_number);
    sqlx::query("UPDATE accounts SET birth_date = ?, phone_number = ? WHERE id = ?")
        .bind(date_text(account.birth_date))
        .bind(&account.phone_number)
        .bind(id)
        .execute(&mut *tx)
        .await?;
    audit::add(&mut tx, &entry).await?;
    tx.commit().await?;
    Ok(Updated::Done(account))
}

pub(super) async fn set_roles(
    writer: &mut Writer<'_>,
    id: Uuid,
    roles: &[Role],
    news: &OutboxRow,
    entry: Entry,
) -> Result<Option<Account>> {
    let mut tx = writer.begin().await?;
    sqlx::query("UPDATE accounts SET roles = ? WHERE id = ?")
        .bind(role_names(roles))
        .bind(id)
        .execute(&mut *tx)
        .await?;
    let Some(account) = rows::load_account(&mut tx, id).await? else { return Ok(None) };
    sqlx::query("UPDATE sessions SET epoch = epoch + 1 WHERE account = ? AND ended_at IS NULL")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    outbox::add(&mut tx, news).await?;
    audit::add(&mut tx, &entry).await?;
    tx.commit().await?;
    Ok(Some(account))
}

pub(super) async fn delete(
    writer: &mut Writer<'_>,
    id: Uuid,
    now: Timestamp,
    news: &OutboxRow,
    entry: Entry,
) -> Result<Option<Vec<Uuid>>> {
    let mut tx = writer.begin().await?;
    let deleted =
        sqlx::query("DELETE FROM accounts WHERE id = ?").bind(id).execute(&mut *tx).await?;
    if deleted.rows_affected() == 0 {
        return Ok(None);
    }
    let ended = sessions::end_all(&mut tx, id, None, now).await?;
    outbox::add(&mut tx, news).await?;
    audit::add(&mut tx, &entry).await?;
    tx.commit().await?;
    Ok(Some(ended))
}

async fn is_taken(tx: &mut SqliteConnection, login: &Login, by_other_than: Uuid) -> Result<bool> {
    let same_key = sqlx::query("SELECT 1 FROM accounts WHERE login_key = ? AND id <> ?")
        .bind(login.key())
        .bind(by_other_than)
        .fetch_optional(&mut *tx)
        .await?;
    if same_key.is_some() {
        return Ok(true);
    }
    for look in login.looks() {
        let same_look = sqlx::query("SELECT 1 FROM login_looks WHERE look = ? AND account <> ?")
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

async fn add_looks(tx: &mut SqliteConnection, login: &Login, account: Uuid) -> Result<()> {
    for look in login.looks() {
        sqlx::query("INSERT INTO login_looks (look, account) VALUES (?, ?)")
            .bind(look)
            .bind(account)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}
