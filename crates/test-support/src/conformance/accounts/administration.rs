//! Roles, disabled accounts and the last admin.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::audit::Action;
use miniapp_accounts::operations::{
    DeleteAccount, DisabledSet, RegisterOutcome, SetDisabled, SetRoles,
};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_types::account::{Account, Role};
use miniapp_types::problem::Code;
use uuid::Uuid;

use super::passwords::with_reset_code;
use super::{
    at, claim_messages, entry, epoch, new_account, new_session, open, open_session, outbox_row,
    password_of, register, verify,
};

const ADMIN: [Role; 2] = [Role::User, Role::Admin];

fn set_roles(account: &Account, roles: &[Role], seconds: u64) -> SetRoles {
    SetRoles {
        account: account.user_id,
        roles: roles.to_vec(),
        event: outbox_row(OutboxKind::SessionsChanged, seconds),
        audit: entry(Action::SetRoles, seconds),
    }
}

fn set_disabled(account: &Account, disabled: bool, seconds: u64) -> SetDisabled {
    SetDisabled {
        account: account.user_id,
        disabled,
        now: at(seconds),
        event: outbox_row(OutboxKind::SessionsChanged, seconds),
        audit: entry(Action::DisableAccount, seconds),
    }
}

fn delete(account: &Account, seconds: u64) -> DeleteAccount {
    DeleteAccount {
        account: account.user_id,
        now: at(seconds),
        event: outbox_row(OutboxKind::AccountDeleted, seconds),
        notice: outbox_row(OutboxKind::Mail, seconds),
        audit: entry(Action::DeleteAccount, seconds),
    }
}

async fn register_admin(store: &dyn Store, name: &str, seconds: u64) -> Result<Account> {
    let address = format!("{name}@example.com");
    verify(store, &address, seconds).await?;
    let mut new = new_account(name, &address, seconds)?;
    new.account.roles = ADMIN.to_vec();
    match store.transact(&new).await? {
        RegisterOutcome::Registered(account) => Ok(account),
        other => Err(anyhow!("{other:?}")),
    }
}

async fn try_open(store: &dyn Store, account: &Account, seconds: u64) -> Result<Result<(), Code>> {
    let session = new_session(account, &format!("at {seconds}"), seconds, 10);
    let password = password_of(store, account).await?;
    let opened = store.transact(&open_session(session, password, [0; 32], seconds)).await?;
    Ok(opened.map(drop))
}

pub async fn disabled_account_has_no_sessions(store: Arc<dyn Store>) -> Result<()> {
    let (ada, bob) = (register(&*store, "ada", 0).await?, register(&*store, "bob", 0).await?);
    let (hers, his) = (open(&*store, &ada, "a", 1).await?, open(&*store, &bob, "b", 1).await?);
    claim_messages(&*store, at(1), at(1000), 10).await?;
    let disabled = store.transact(&set_disabled(&ada, true, 2)).await?;
    let account = Account { disabled: true, ..ada.clone() };
    let expected = DisabledSet { account: account.clone(), ended: vec![hers] };
    ensure!(disabled.as_ref() == Ok(&expected), "{disabled:?}");
    ensure!(store.account(ada.user_id).await? == Some(account), "not stored");
    ensure!(epoch(&*store, hers).await?.is_none(), "the session is active");
    ensure!(epoch(&*store, his).await?.is_some(), "the session of another account has ended");
    let messages = claim_messages(&*store, at(2), at(1000), 10).await?;
    ensure!(messages.len() == 1 && messages[0].kind == OutboxKind::SessionsChanged, "{messages:?}");
    let opened = try_open(&*store, &ada, 3).await?;
    ensure!(opened == Err(Code::AccountDisabled), "{opened:?}");
    ensure!(try_open(&*store, &bob, 3).await?.is_ok(), "another account is disabled");
    let unknown = Account { user_id: Uuid::nil(), ..ada };
    let unknown = store.transact(&set_disabled(&unknown, true, 4)).await?;
    ensure!(unknown == Err(Code::UserNotFound), "{unknown:?}");
    Ok(())
}

pub async fn enabled_account_signs_in_again(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let before = open(&*store, &ada, "a", 1).await?;
    for (disabled, seconds) in [(true, 2), (true, 3), (false, 4), (false, 5)] {
        let set = store.transact(&set_disabled(&ada, disabled, seconds)).await?;
        let set = set.map_err(|code| anyhow!("{code}"))?;
        ensure!(set.account.disabled == disabled, "{set:?}");
        ensure!(set.ended.is_empty() == (seconds > 2), "{set:?}");
    }
    ensure!(epoch(&*store, before).await?.is_none(), "an earlier session is active again");
    ensure!(try_open(&*store, &ada, 6).await?.is_ok(), "no session was opened");
    Ok(())
}

pub async fn disabled_account_cannot_reset_its_password(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let reset = with_reset_code(&*store, &ada).await?;
    ensure!(store.transact(&set_disabled(&ada, true, 6)).await?.is_ok(), "not disabled");
    let mut wrong = reset.clone();
    wrong.code = [9; 32];
    for (reset, expected) in [(&wrong, Code::CodeInvalid), (&reset, Code::AccountDisabled)] {
        let rejected = store.transact(reset).await?;
        ensure!(rejected == Err(expected), "{rejected:?}");
    }
    ensure!(password_of(&*store, &ada).await?.as_str() == "hash of ada", "changed");
    Ok(())
}

pub async fn last_admin_remains(store: Arc<dyn Store>) -> Result<()> {
    let ada = register_admin(&*store, "ada", 0).await?;
    let bob = register(&*store, "bob", 1).await?;
    open(&*store, &ada, "a", 2).await?;
    let assert_last = async |seconds| -> Result<()> {
        let entries = store.audit_log(None, 100).await?.len();
        let results = [
            store.transact(&set_roles(&ada, &[Role::User], seconds)).await?.err(),
            store.transact(&set_disabled(&ada, true, seconds)).await?.err(),
            store.transact(&delete(&ada, seconds)).await?.err(),
        ];
        ensure!(results == [Some(Code::LastAdmin); 3], "{results:?}");
        ensure!(store.account(ada.user_id).await?.as_ref() == Some(&ada), "changed");
        let active = store.sessions(ada.user_id).await?;
        ensure!(active.iter().all(|session| session.ended_at.is_none()), "{active:?}");
        ensure!(store.audit_log(None, 100).await?.len() == entries, "recorded as a success");
        Ok(())
    };
    assert_last(3).await?;
    // Other changes of the last admin and of other accounts are possible.
    for set in [set_roles(&ada, &ADMIN, 4), set_roles(&bob, &[Role::User], 4)] {
        ensure!(store.transact(&set).await?.is_ok(), "an unrelated change was rejected");
    }
    ensure!(store.transact(&set_roles(&bob, &ADMIN, 5)).await?.is_ok(), "not promoted");
    // A disabled admin does not count, and can be changed.
    ensure!(store.transact(&set_disabled(&bob, true, 6)).await?.is_ok(), "not disabled");
    assert_last(7).await?;
    ensure!(store.transact(&set_roles(&bob, &[Role::User], 8)).await?.is_ok(), "not demoted");
    ensure!(store.transact(&set_roles(&bob, &ADMIN, 9)).await?.is_ok(), "not promoted");
    ensure!(store.transact(&set_disabled(&bob, false, 10)).await?.is_ok(), "not enabled");
    ensure!(store.transact(&delete(&ada, 11)).await?.is_ok(), "not deleted");
    let last = store.transact(&set_disabled(&bob, true, 12)).await?;
    ensure!(last == Err(Code::LastAdmin), "{last:?}");
    Ok(())
}

/// Two admins are demoted, disabled or deleted at the same moment.
pub async fn concurrent_changes_leave_an_admin(store: Arc<dyn Store>) -> Result<()> {
    let mut last = register_admin(&*store, "admin", 0).await?;
    for round in 1..=9 {
        let (other, now) = (register_admin(&*store, &format!("admin{round}"), round).await?, round);
        let mut changes = tokio::task::JoinSet::new();
        for (change, account) in (round..).zip([last, other]) {
            let store = store.clone();
            changes.spawn(async move {
                anyhow::Ok(match change % 3 {
                    0 => store.transact(&set_roles(&account, &[Role::User], now)).await?.err(),
                    1 => store.transact(&set_disabled(&account, true, now)).await?.err(),
                    _ => store.transact(&delete(&account, now)).await?.err(),
                })
            });
        }
        let mut rejections = Vec::new();
        for rejection in changes.join_all().await {
            rejections.extend(rejection?);
        }
        ensure!(rejections == [Code::LastAdmin], "round {round}: {rejections:?}");
        let mut admins = store.accounts(None, 100).await?;
        admins.retain(|account| !account.disabled && account.roles.contains(&Role::Admin));
        ensure!(admins.len() == 1, "round {round}: {admins:?}");
        last = admins.remove(0);
    }
    Ok(())
}

pub async fn audit_names_target_and_roles(store: Arc<dyn Store>) -> Result<()> {
    let ada = register_admin(&*store, "ada", 0).await?;
    let bob = register(&*store, "bob", 1).await?;
    let newest = async || -> Result<_> {
        store.audit_log(None, 1).await?.pop().context("nothing was recorded")
    };
    let registered = newest().await?;
    ensure!(registered.roles_after == Some(vec![Role::User]), "{registered:?}");
    for (change, before, after) in [
        (set_roles(&bob, &ADMIN, 2), vec![Role::User], ADMIN.to_vec()),
        (set_roles(&bob, &[Role::Admin], 3), ADMIN.to_vec(), vec![Role::Admin]),
    ] {
        ensure!(store.transact(&change).await?.is_ok(), "rejected");
        let recorded = newest().await?;
        ensure!(recorded.login.as_deref() == Some("bob"), "{recorded:?}");
        ensure!(recorded.account == Some(bob.user_id), "{recorded:?}");
        ensure!(recorded.roles_before == Some(before), "{recorded:?}");
        ensure!(recorded.roles_after == Some(after), "{recorded:?}");
    }
    ensure!(store.transact(&delete(&ada, 4)).await?.is_ok(), "not deleted");
    let deleted = newest().await?;
    ensure!(deleted.account == Some(ada.user_id), "{deleted:?}");
    ensure!(deleted.roles_before == Some(ADMIN.to_vec()), "{deleted:?}");
    Ok(())
}
