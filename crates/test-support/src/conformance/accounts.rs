//! Conformance of a [`Store`] of accounts.

pub mod account;
pub mod administration;
pub mod api_keys;
pub mod authorization;
pub mod codes;
pub mod keys;
pub mod maintenance;
pub mod outbox;
pub mod passwords;
pub mod refreshes;
pub mod restore;
pub mod sessions;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use miniapp_accounts::audit::{Action, AuditEntry, Caller};
use miniapp_accounts::code::{Mac, Purpose};
use miniapp_accounts::operations::{
    CodeDelivery, EndSession, IssueCode, IssueOutcome, OpenSession, RegisterAccount,
    RegisterOutcome, RotateSession, Rotation, VerifyEmail,
};
use miniapp_accounts::outbox::{Lane, OutboxKind, OutboxRow};
use miniapp_accounts::password::PasswordHash;
use miniapp_accounts::refresh_token::Salt;
use miniapp_accounts::session::NewSession;
use miniapp_accounts::store::{FailureKey, Identifier};
use miniapp_accounts::{Email, Login, Store, TokenHash};
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
                wrong_codes_are_limited_over_all_codes,
                concurrent_wrong_codes_do_not_exceed_the_limit,
                new_code_replaces_previous_one,
                code_may_match_either_of_two_macs,
                code_expires,
                code_verifies_email_once,
                code_purposes_are_independent,
                code_requests_have_a_cooldown,
                code_requests_have_a_daily_limit,
                code_requests_of_the_future_do_not_count,
                registered_email_gets_a_different_mail,
                concurrent_verifications_use_code_once,
            }
            account {
                registered_account_is_found_by_id_login_and_email,
                verification_allows_one_registration,
                registration_needs_token_of_verification,
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
            administration {
                disabled_account_has_no_sessions,
                enabled_account_signs_in_again,
                disabled_account_cannot_reset_its_password,
                last_admin_remains,
                concurrent_changes_leave_an_admin,
                audit_names_target_and_roles,
            }
            authorization {
                operation_needs_current_token_of_active_session,
                operation_needs_role_when_it_runs,
                operation_of_deleted_account_is_rejected,
            }
            passwords {
                password_change_ends_other_sessions,
                password_change_requires_current_hash,
                password_reset_ends_all_sessions,
                reset_code_works_once,
                sign_in_failures_are_counted_in_window,
                sign_in_failures_of_the_future_do_not_count,
                successful_sign_in_clears_failures,
                password_reset_clears_failures_of_all_networks,
            }
            sessions {
                opened_session_is_found,
                opening_a_session_requires_current_hash,
                client_has_one_session,
                concurrent_sign_ins_of_a_client_leave_one_session,
                least_recently_used_sessions_end_above_limit,
                new_session_stays_after_the_clock_was_set_back,
                session_ends_once_and_only_by_its_owner,
            }
            refreshes {
                refresh_increments_epoch,
                reused_refresh_token_ends_session,
                unused_successor_is_issued_again,
                successor_is_not_issued_again_after_its_grace,
                successor_is_not_issued_again_after_the_clock_was_set_back,
                owner_gets_one_mail_about_a_reused_token,
                rejected_refreshes_are_recorded_with_their_session,
                concurrent_refreshes_rotate_once,
                rejected_refresh_tokens_have_distinct_reasons,
            }
            api_keys {
                created_key_is_found_by_its_hash,
                keys_are_listed_newest_first,
                use_of_key_is_recorded_at_intervals,
                key_is_revoked_once_and_only_by_its_owner,
                number_of_keys_is_limited,
                concurrent_creations_do_not_exceed_the_limit,
                creations_are_limited_in_window,
                scopes_of_admins_require_the_role,
                change_of_roles_increments_epochs_of_keys,
                disabled_account_has_no_keys,
                deleted_account_has_no_keys,
                enabled_account_has_no_earlier_keys,
                keys_without_owner_are_revoked,
                ended_keys_are_purged_later,
                keys_from_before_a_restore_are_revoked,
            }
            keys {
                signing_key_round_trips,
                signing_key_has_one_successor,
                signing_key_is_resealed_once,
                rotated_key_replaces_later_ones,
                rotation_of_compromised_keys_removes_them,
                concurrent_rotations_leave_one_chain,
            }
            outbox {
                outbox_message_is_claimed_once,
                outbox_claim_expires,
                outbox_message_can_be_postponed,
                outbox_messages_can_be_advanced,
                outbox_backlog_counts_pending_messages,
                retained_outbox_messages_can_be_reopened,
                outbox_message_round_trips,
                outbox_messages_are_resealed_once,
                inbox_mail_is_stored_once,
            }
            restore {
                nothing_from_before_a_restore_is_valid,
                deletions_are_recorded,
                deletion_is_replayed,
                deleted_account_that_returned_is_deleted_again,
            }
            maintenance {
                ping_succeeds,
                audit_log_is_paginated,
                purge_removes_only_expired_rows,
            }
        }
    };
}

fn start() -> Timestamp {
    Timestamp::from_second(1_900_000_000).unwrap_or_default()
}

/// A time this many seconds after the start of the test.
fn at(seconds: u64) -> Timestamp {
    start() + Duration::from_secs(seconds)
}

fn email(text: &str) -> Result<Email> {
    Email::parse(text).with_context(|| format!("{text} is not an address"))
}

fn login(text: &str) -> Result<Login> {
    Login::parse(text).map_err(|message| anyhow::anyhow!("{text} {message}"))
}

fn entry(action: Action, seconds: u64) -> AuditEntry {
    AuditEntry::new(action, at(seconds), &Caller::default())
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

/// Claims the messages of all lanes.
async fn claim_messages(
    store: &dyn Store,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<OutboxRow>> {
    let mut claimed = Vec::new();
    for lane in [Lane::Mails, Lane::Events] {
        claimed.extend(store.claim_outbox_messages(lane, now, until, limit).await?);
    }
    Ok(claimed)
}

/// A request for a code, with a limit of three per day and one per minute.
fn issue(address: &str, purpose: Purpose, seconds: u64, code: Mac) -> Result<IssueCode> {
    let now = at(seconds);
    let delivery =
        CodeDelivery { code: Some(code), mail: Some(outbox_row(OutboxKind::Mail, seconds)) };
    Ok(IssueCode {
        email: email(address)?,
        owner: None,
        purpose,
        now,
        expires_at: now + Duration::from_mins(10),
        cooldown_start: now - Duration::from_mins(1),
        window_start: now - Duration::from_hours(24),
        limit: 3,
        registered: delivery.clone(),
        unregistered: delivery,
        audit: entry(Action::SendCode, seconds),
    })
}

/// Verifies an address for an hour.
async fn verify(store: &dyn Store, address: &str, seconds: u64) -> Result<()> {
    let code = [7; 32];
    let mut request = issue(address, Purpose::Verification, seconds, code)?;
    request.registered.code = Some(code);
    ensure!(store.transact(&request).await? == IssueOutcome::Sent, "no code was sent");
    ensure!(store.transact(&verification(address, code, seconds)?).await?, "not verified");
    Ok(())
}

/// The token of every verification of an address.
fn registration_token(address: &str) -> TokenHash {
    TokenHash::of(&Secret::new(address))
}

/// A verification that is valid for an hour.
fn verification(address: &str, code: Mac, seconds: u64) -> Result<VerifyEmail> {
    Ok(VerifyEmail {
        email: email(address)?,
        code,
        token: registration_token(address),
        verified_until: at(seconds + 3600),
        audit: entry(Action::VerifyEmail, seconds),
    })
}

fn new_account(name: &str, address: &str, seconds: u64) -> Result<RegisterAccount> {
    let email = email(address)?;
    let account = Account {
        user_id: clock::id_at(at(seconds)),
        login: name.to_owned(),
        email: email.to_string(),
        roles: vec![Role::User],
        birth_date: None,
        phone_number: None,
        created_at: at(seconds),
        disabled: false,
    };
    Ok(RegisterAccount {
        token: registration_token(address),
        account,
        email,
        login: login(name)?,
        password: PasswordHash::from_phc(format!("hash of {name}")),
        audit: entry(Action::Register, seconds),
    })
}

/// Registers `NAME` with the address `NAME@example.com`.
async fn register(store: &dyn Store, name: &str, seconds: u64) -> Result<Account> {
    let address = format!("{name}@example.com");
    verify(store, &address, seconds).await?;
    match store.transact(&new_account(name, &address, seconds)?).await? {
        RegisterOutcome::Registered(account) => Ok(account),
        other => bail!("{name} was not registered: {other:?}"),
    }
}

async fn password_of(store: &dyn Store, account: &Account) -> Result<PasswordHash> {
    let of = Identifier::Email(email(&account.email)?);
    Ok(store.credentials(&of).await?.context("no credentials")?.password)
}

/// A refresh that repeats its result for ten seconds, and lasts for an hour. The successors of a
/// token differ.
fn rotation<'a>(
    token: &Secret,
    seconds: u64,
    notice: &'a (dyn Fn(&str) -> Result<OutboxRow> + Sync),
) -> RotateSession<'a> {
    RotateSession {
        token: token.clone(),
        salt: Salt(rand::random()),
        grace: Duration::from_secs(10),
        now: at(seconds),
        expires_at: at(seconds + 3600),
        notice,
        audit: entry(Action::Refresh, seconds),
    }
}

/// The session of a client with the name of its token.
fn new_session(account: &Account, token: &str, seconds: u64, limit: u32) -> NewSession {
    NewSession {
        id: clock::id_at(at(seconds)),
        account: account.user_id,
        client: token.to_owned(),
        refresh: TokenHash::of(&Secret::new(token)),
        now: at(seconds),
        expires_at: at(seconds + 3600),
        caller: Caller { ip: Some([192, 0, 2, 1].into()), user_agent: Some("tests".to_owned()) },
        limit,
    }
}

/// Opens a session, one of at most ten, that expires after an hour.
async fn open(store: &dyn Store, account: &Account, token: &str, seconds: u64) -> Result<Uuid> {
    let session = new_session(account, token, seconds, 10);
    let id = session.id;
    let password = password_of(store, account).await?;
    let open = open_session(session, password, [0; 32], seconds);
    let opened = store.transact(&open).await?;
    ensure!(opened.is_ok(), "no session was opened: {opened:?}");
    Ok(id)
}

fn open_session(
    session: NewSession,
    password: PasswordHash,
    failures: FailureKey,
    seconds: u64,
) -> OpenSession {
    OpenSession { session, password, failures, audit: entry(Action::SignIn, seconds) }
}

/// Returns the session's epoch unless it has ended.
async fn epoch(store: &dyn Store, id: Uuid) -> Result<Option<u32>> {
    Ok(store.session(id).await?.map(|(session, _)| session.epoch))
}

async fn is_active(store: &dyn Store, session: Uuid) -> Result<bool> {
    Ok(epoch(store, session).await?.is_some())
}

fn end_session(account: &Account, session: Uuid, seconds: u64) -> EndSession {
    EndSession {
        account: account.user_id,
        session,
        now: at(seconds),
        event: outbox_row(OutboxKind::SessionsChanged, seconds),
        audit: entry(Action::RevokeSession, seconds).about(account),
    }
}

async fn rotate(store: &dyn Store, token: &Secret, seconds: u64) -> Result<Rotation> {
    let notice = |_: &str| anyhow::Ok(outbox_row(OutboxKind::Mail, seconds));
    Ok(store.transact(&rotation(token, seconds, &notice)).await?)
}

/// Rotates a current token and returns the next one.
async fn next(store: &dyn Store, token: &Secret, seconds: u64) -> Result<Secret> {
    match rotate(store, token, seconds).await? {
        Rotation::Rotated(refreshed) => Ok(refreshed.token),
        other => bail!("not rotated: {other:?}"),
    }
}
