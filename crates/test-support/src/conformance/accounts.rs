//! What every [`Store`] of accounts has to do.

mod account;
mod codes;
mod keys;
mod outbox;
mod passwords;
mod sessions;
mod upkeep;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use miniapp_accounts::audit::{Action, Caller, Entry};
use miniapp_accounts::code::{Mac, Purpose};
use miniapp_accounts::outbox::{OutboxKind, OutboxRow};
use miniapp_accounts::password::Hash;
use miniapp_accounts::session::{NewSession, RefreshHash};
use miniapp_accounts::store::{Identifier, IssueCode, Issued, NewAccount, Registered, Sending};
use miniapp_accounts::{Email, Login, Store};
use miniapp_runtime::clock;
use miniapp_types::account::{Account, Role, Secret};
use miniapp_types::trace::TraceContext;
use uuid::Uuid;

type Outcome = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// One thing that an engine has to do.
pub struct Case {
    /// What it has to do.
    pub name: &'static str,
    test: fn(Arc<dyn Store>) -> Outcome,
}

impl Case {
    /// Tries it on an empty store that nobody else uses.
    pub async fn check(&self, store: Arc<dyn Store>) -> Result<()> {
        (self.test)(store).await.with_context(|| self.name)
    }
}

macro_rules! cases {
    ($($module:ident :: $test:ident),* $(,)?) => {
        &[$(Case {
            name: stringify!($test),
            test: |store| Box::pin($module::$test(store)),
        }),*]
    };
}

/// All of it.
pub const CASES: &[Case] = cases![
    codes::code_attempts_are_limited,
    codes::new_code_replaces_previous_one,
    codes::code_expires,
    codes::code_verifies_email_once,
    codes::code_purposes_are_independent,
    codes::code_requests_have_a_cooldown,
    codes::code_requests_have_a_daily_limit,
    codes::registered_email_gets_a_different_mail,
    codes::concurrent_verifications_use_code_once,
    account::registered_account_is_found_by_id_login_and_email,
    account::verification_allows_one_registration,
    account::verification_expires,
    account::rejected_registration_changes_nothing,
    account::confusable_login_is_taken,
    account::concurrent_registrations_get_distinct_logins,
    account::accounts_are_listed_newest_first,
    account::account_update_changes_only_given_fields,
    account::changed_login_becomes_available,
    account::role_change_invalidates_access_tokens,
    account::deleted_account_is_gone,
    passwords::password_change_ends_other_sessions,
    passwords::password_change_requires_current_hash,
    passwords::password_reset_ends_all_sessions,
    passwords::reset_code_works_once,
    passwords::sign_in_failures_are_counted_in_window,
    passwords::successful_sign_in_clears_failures,
    sessions::opened_session_is_found,
    sessions::opening_a_session_requires_current_hash,
    sessions::oldest_sessions_end_above_limit,
    sessions::refresh_increments_epoch,
    sessions::reused_refresh_token_ends_session,
    sessions::concurrent_refreshes_rotate_once,
    sessions::rejected_refresh_tokens_have_distinct_reasons,
    sessions::session_ends_once_and_only_by_its_owner,
    keys::signing_key_round_trips,
    keys::signing_key_has_one_successor,
    outbox::outbox_message_is_claimed_once,
    outbox::outbox_claim_expires,
    outbox::outbox_message_can_be_postponed,
    outbox::outbox_backlog_counts_pending_messages,
    outbox::retained_outbox_messages_can_be_reopened,
    outbox::outbox_message_round_trips,
    outbox::inbox_mail_is_stored_once,
    upkeep::ping_succeeds,
    upkeep::audit_log_is_paginated,
    upkeep::purge_removes_only_expired_rows,
];

/// Tries every case on a store of its own and panics with the list of those that failed.
pub async fn check<F>(make: impl Fn() -> F)
where
    F: Future<Output = Arc<dyn Store>>,
{
    let mut failures = Vec::new();
    for case in CASES {
        if let Err(error) = case.check(make().await).await {
            failures.push(format!("{error:#}"));
        }
    }
    assert!(failures.is_empty(), "the store fails:\n{}", failures.join("\n"));
}

/// When the tests begin.
fn start() -> Timestamp {
    Timestamp::from_second(1_900_000_000).unwrap_or_default()
}

/// So many seconds after the tests began.
fn at(seconds: u64) -> Timestamp {
    start() + Duration::from_secs(seconds)
}

fn email(text: &str) -> Result<Email> {
    Email::parse(text).with_context(|| format!("{text} is no address"))
}

fn login(text: &str) -> Result<Login> {
    Login::parse(text).map_err(|fault| anyhow::anyhow!("{text} {fault}"))
}

fn entry(action: Action, seconds: u64) -> Entry {
    Entry::new(action, at(seconds), &Caller::default())
}

fn outbox_row(kind: OutboxKind, seconds: u64) -> OutboxRow {
    OutboxRow {
        id: clock::id_at(at(seconds)),
        kind,
        payload: vec![1, 2, 3],
        trace: TraceContext::default(),
        due_at: at(seconds),
        not_after: None,
        attempts: 0,
    }
}

/// A request for a code that allows three a day, one a minute.
fn issue(address: &str, purpose: Purpose, seconds: u64, code: Mac) -> Result<IssueCode> {
    let now = at(seconds);
    let sending = Sending { code: Some(code), mail: Some(outbox_row(OutboxKind::Mail, seconds)) };
    Ok(IssueCode {
        email: email(address)?,
        purpose,
        now,
        expires_at: now + Duration::from_mins(10),
        cooled_since: now - Duration::from_mins(1),
        counted_since: now - Duration::from_hours(24),
        most: 3,
        known: sending.clone(),
        unknown: sending,
        audit: entry(Action::SendCode, seconds),
    })
}

/// Brings the address to where it can be registered, until an hour has passed.
async fn verify(store: &dyn Store, address: &str, seconds: u64) -> Result<()> {
    let code = [7; 32];
    let mut request = issue(address, Purpose::Verification, seconds, code)?;
    request.known.code = Some(code);
    ensure!(store.issue_code(request).await? == Issued::Sent, "no code was sent");
    let audit = entry(Action::VerifyEmail, seconds);
    let until = at(seconds + 3600);
    ensure!(store.verify_email(&email(address)?, &code, until, audit).await?, "not verified");
    Ok(())
}

fn new_account(name: &str, address: &str, seconds: u64) -> Result<NewAccount> {
    Ok(NewAccount {
        id: clock::id_at(at(seconds)),
        email: email(address)?,
        login: login(name)?,
        password: Hash::stored(format!("hash of {name}")),
        roles: vec![Role::User],
        birth_date: None,
        phone_number: None,
        now: at(seconds),
        audit: entry(Action::Register, seconds),
    })
}

/// Registers `NAME` with the address `NAME@example.com`.
async fn register(store: &dyn Store, name: &str, seconds: u64) -> Result<Account> {
    let address = format!("{name}@example.com");
    verify(store, &address, seconds).await?;
    match store.register(new_account(name, &address, seconds)?).await? {
        Registered::Done(account) => Ok(account),
        other => bail!("{name} was not registered: {other:?}"),
    }
}

async fn password_of(store: &dyn Store, account: &Account) -> Result<Hash> {
    let of = Identifier::Email(email(&account.email)?);
    Ok(store.credentials(&of).await?.context("no credentials")?.password)
}

fn refresh(text: &str) -> RefreshHash {
    RefreshHash::of(&Secret::new(text))
}

fn new_session(account: &Account, token: &str, seconds: u64, most: u32) -> NewSession {
    NewSession {
        id: clock::id_at(at(seconds)),
        account: account.user_id,
        refresh: refresh(token),
        now: at(seconds),
        expires_at: at(seconds + 3600),
        caller: Caller { ip: Some([192, 0, 2, 1].into()), user_agent: Some("tests".to_owned()) },
        most,
    }
}

/// Begins a session of at most ten that ends after an hour.
async fn open(store: &dyn Store, account: &Account, token: &str, seconds: u64) -> Result<Uuid> {
    let new = new_session(account, token, seconds, 10);
    let (id, password) = (new.id, password_of(store, account).await?);
    let audit = entry(Action::SignIn, seconds);
    store.open_session(new, &password, &[0; 32], audit).await?.context("no session began")?;
    Ok(id)
}

/// The living session's epoch.
async fn epoch(store: &dyn Store, id: Uuid) -> Result<Option<u32>> {
    Ok(store.session(id).await?.map(|(session, _)| session.epoch))
}
