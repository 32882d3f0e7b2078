//! What every [`Store`] of accounts has to do.

pub mod account;
pub mod codes;
pub mod keys;
pub mod outbox;
pub mod passwords;
pub mod sessions;
pub mod upkeep;

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

/// Defines one test per case. `$fixture` is an async function in scope that calls its argument
/// with a new, empty store.
#[macro_export]
macro_rules! account_store_tests {
    ($(#[$attribute:meta])* $fixture:ident) => {
        $crate::conformance_tests! {
            accounts, $fixture, [$(#[$attribute])*],
            codes {
                code_attempts_are_limited,
                new_code_replaces_previous_one,
                code_expires,
                code_verifies_email_once,
                code_purposes_are_independent,
                code_requests_have_a_cooldown,
                code_requests_have_a_daily_limit,
                registered_email_gets_a_different_mail,
                concurrent_verifications_use_code_once,
            }
            account {
                registered_account_is_found_by_id_login_and_email,
                verification_allows_one_registration,
                verification_expires,
                rejected_registration_changes_nothing,
                confusable_login_is_taken,
                concurrent_registrations_get_distinct_logins,
                accounts_are_listed_newest_first,
                account_update_changes_only_given_fields,
                changed_login_becomes_available,
                role_change_invalidates_access_tokens,
                deleted_account_is_gone,
            }
            passwords {
                password_change_ends_other_sessions,
                password_change_requires_current_hash,
                password_reset_ends_all_sessions,
                reset_code_works_once,
                sign_in_failures_are_counted_in_window,
                successful_sign_in_clears_failures,
            }
            sessions {
                opened_session_is_found,
                opening_a_session_requires_current_hash,
                oldest_sessions_end_above_limit,
                refresh_increments_epoch,
                reused_refresh_token_ends_session,
                concurrent_refreshes_rotate_once,
                rejected_refresh_tokens_have_distinct_reasons,
                session_ends_once_and_only_by_its_owner,
            }
            keys {
                signing_key_round_trips,
                signing_key_has_one_successor,
            }
            outbox {
                outbox_message_is_claimed_once,
                outbox_claim_expires,
                outbox_message_can_be_postponed,
                outbox_backlog_counts_pending_messages,
                retained_outbox_messages_can_be_reopened,
                outbox_message_round_trips,
                inbox_mail_is_stored_once,
            }
            upkeep {
                ping_succeeds,
                audit_log_is_paginated,
                purge_removes_only_expired_rows,
            }
        }
    };
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
