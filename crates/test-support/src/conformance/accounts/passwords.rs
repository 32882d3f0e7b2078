//! Password changes and failed sign-ins.

use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use jiff::Timestamp;
use miniapp_accounts::Store;
use miniapp_accounts::audit::Action;
use miniapp_accounts::code::Purpose;
use miniapp_accounts::operations::{ChangePassword, RecordFailure, ResetPassword};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_accounts::password::PasswordHash;
use miniapp_accounts::store::FailureKey;
use miniapp_types::account::Account;
use uuid::Uuid;

use super::{
    at, email, entry, epoch, issue, new_session, open, open_session, outbox_row, password_of,
    register,
};

fn change(account: &Account, old: &str, keep_session: Uuid) -> ChangePassword {
    ChangePassword {
        account: account.user_id,
        old: PasswordHash::from_phc(old),
        new: PasswordHash::from_phc("new hash"),
        keep_session,
        now: at(10),
        notice: outbox_row(OutboxKind::Mail, 10),
        audit: entry(Action::ChangePassword, 10).about(account),
    }
}

pub async fn password_change_ends_other_sessions(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let bob = register(&*store, "bob", 0).await?;
    let mine = open(&*store, &ada, "a", 1).await?;
    let other = open(&*store, &ada, "b", 2).await?;
    let foreign = open(&*store, &bob, "c", 3).await?;
    let ended = store.transact(&change(&ada, "hash of ada", mine)).await?;
    ensure!(ended == Some(vec![other]), "{ended:?}");
    ensure!(password_of(&*store, &ada).await?.as_str() == "new hash", "not changed");
    ensure!(
        password_of(&*store, &bob).await?.as_str() == "hash of bob",
        "changed for another account"
    );
    ensure!(epoch(&*store, mine).await?.is_some(), "the current session has ended");
    ensure!(epoch(&*store, other).await?.is_none(), "another session is active");
    ensure!(epoch(&*store, foreign).await?.is_some(), "the session of another account has ended");
    Ok(())
}

pub async fn password_change_requires_current_hash(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let session = open(&*store, &ada, "a", 1).await?;
    let other = open(&*store, &ada, "b", 2).await?;
    let ended = store.transact(&change(&ada, "an older hash", session)).await?;
    ensure!(ended.is_none(), "{ended:?}");
    ensure!(password_of(&*store, &ada).await?.as_str() == "hash of ada", "changed");
    ensure!(epoch(&*store, other).await?.is_some(), "a session has ended");
    Ok(())
}

pub(super) async fn with_reset_code(store: &dyn Store, ada: &Account) -> Result<ResetPassword> {
    let code = [3; 32];
    store.transact(&issue("ada@example.com", Purpose::Reset, 5, code)?).await?;
    Ok(ResetPassword {
        account: ada.user_id,
        email: email("ada@example.com")?,
        code,
        new: PasswordHash::from_phc("new hash"),
        now: at(10),
        notice: outbox_row(OutboxKind::Mail, 10),
        audit: entry(Action::ResetPassword, 10),
    })
}

pub async fn password_reset_ends_all_sessions(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let one = open(&*store, &ada, "a", 1).await?;
    let other = open(&*store, &ada, "b", 2).await?;
    let reset = with_reset_code(&*store, &ada).await?;
    let mut ended = store.transact(&reset).await?.map_err(|code| anyhow!("{code}"))?;
    ended.sort();
    ensure!(ended == [one, other], "{ended:?}");
    ensure!(password_of(&*store, &ada).await?.as_str() == "new hash", "not set");
    Ok(())
}

pub async fn reset_code_works_once(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let reset = with_reset_code(&*store, &ada).await?;
    let mut wrong = reset.clone();
    wrong.code = [4; 32];
    ensure!(store.transact(&wrong).await?.is_err(), "a wrong code was accepted");
    ensure!(store.transact(&reset).await?.is_ok(), "the right code was rejected");
    ensure!(store.transact(&reset).await?.is_err(), "a code was accepted twice");
    Ok(())
}

fn failure(key: FailureKey, seconds: u64) -> RecordFailure {
    RecordFailure { key, audit: entry(Action::SignIn, seconds) }
}

async fn failures(store: &dyn Store, key: &FailureKey, since: u64) -> Result<Vec<Timestamp>> {
    Ok(store.failures(key, at(since), at(1000), 3).await?)
}

pub async fn sign_in_failures_are_counted_in_window(store: Arc<dyn Store>) -> Result<()> {
    let key = [1; 32];
    ensure!(failures(&*store, &key, 0).await?.is_empty(), "failures that were not recorded");
    for seconds in [10, 20, 30, 40] {
        store.transact(&failure(key, seconds)).await?;
    }
    let all = failures(&*store, &key, 0).await?;
    ensure!(all == [at(40), at(30), at(20)], "{all:?}");
    let some = failures(&*store, &key, 30).await?;
    ensure!(some == [at(40)], "{some:?}");
    ensure!(failures(&*store, &[2; 32], 0).await?.is_empty(), "failures of another key");
    ensure!(store.audit_log(None, 100).await?.len() == 4, "failures are missing in the audit log");
    Ok(())
}

/// The clock was set back after they were recorded.
pub async fn sign_in_failures_of_the_future_do_not_count(store: Arc<dyn Store>) -> Result<()> {
    let key = [1; 32];
    for seconds in [5000, 6000, 7000, 20] {
        store.transact(&failure(key, seconds)).await?;
    }
    let counted = failures(&*store, &key, 0).await?;
    ensure!(counted == [at(20)], "{counted:?}");
    Ok(())
}

pub async fn successful_sign_in_clears_failures(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    for key in [[1; 32], [2; 32]] {
        store.transact(&failure(key, 5)).await?;
    }
    let password = password_of(&*store, &ada).await?;
    let new = new_session(&ada, "t", 6, 1);
    let opened = store.transact(&open_session(new, password, [1; 32], 6)).await?;
    ensure!(opened.is_ok(), "{opened:?}");
    ensure!(failures(&*store, &[1; 32], 0).await?.is_empty(), "still counted");
    ensure!(
        failures(&*store, &[2; 32], 0).await?.len() == 1,
        "failures of another key were cleared"
    );
    Ok(())
}

pub async fn password_reset_clears_failures_of_all_networks(store: Arc<dyn Store>) -> Result<()> {
    let (ada, bob) = (register(&*store, "ada", 0).await?, register(&*store, "bob", 1).await?);
    for (key, account) in [([1; 32], &ada), ([2; 32], &ada), ([3; 32], &bob)] {
        let failure = failure(key, 5);
        let audit = failure.audit.about(account);
        store.transact(&RecordFailure { key, audit }).await?;
    }
    let reset = with_reset_code(&*store, &ada).await?;
    ensure!(store.transact(&reset).await?.is_ok(), "rejected");
    for (key, count) in [([1; 32], 0), ([2; 32], 0), ([3; 32], 1)] {
        let left = failures(&*store, &key, 0).await?.len();
        ensure!(left == count, "{left} failures with the key {key:?}");
    }
    Ok(())
}
