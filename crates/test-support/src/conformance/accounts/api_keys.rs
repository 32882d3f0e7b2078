//! API keys.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_accounts::api_key::{ApiKey, NewApiKey};
use miniapp_accounts::audit::Action;
use miniapp_accounts::operations::{
    CreateApiKey, CreateKeyOutcome, DeleteAccount, RevokeApiKey, SetDisabled, SetRoles,
};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_accounts::store::{ExpiryLimits, Operation, Outcome, Revoked, Transaction, TxResult};
use miniapp_accounts::{Store, TokenHash};
use miniapp_runtime::clock;
use miniapp_types::account::{Account, Role, Scope, Secret};
use miniapp_types::problem::Code;
use uuid::Uuid;

use super::{at, entry, open, outbox_row, register};

fn hash(text: &str) -> TokenHash {
    TokenHash::of(&Secret::new(text))
}

fn new_key(account: &Account, text: &str, seconds: u64) -> NewApiKey {
    NewApiKey {
        id: clock::id_at(at(seconds)),
        account: account.user_id,
        hash: hash(text),
        name: format!("name of {text}"),
        prefix: format!("mak_{text}"),
        scopes: vec![Scope::TasksRead, Scope::SchedulesWrite],
        created_at: at(seconds),
        expires_at: None,
    }
}

/// Creates one of at most three keys, and of at most five in 100 seconds.
fn create(key: NewApiKey) -> CreateApiKey {
    let window_start = key.created_at - std::time::Duration::from_secs(100);
    let audit = entry(Action::CreateApiKey, 0).about_key(key.id);
    CreateApiKey { key, limit: 3, window_start, window_limit: 5, audit }
}

async fn created(store: &dyn Store, account: &Account, text: &str, seconds: u64) -> Result<Uuid> {
    let key = new_key(account, text, seconds);
    let id = key.id;
    let outcome = store.transact(&create(key)).await?;
    ensure!(outcome == CreateKeyOutcome::Created, "{outcome:?}");
    Ok(id)
}

async fn stored(store: &dyn Store, text: &str) -> Result<(ApiKey, Option<Account>)> {
    store.api_key(&hash(text)).await?.context("no such key")
}

async fn revoke(store: &dyn Store, account: &Account, key: Uuid, seconds: u64) -> Result<bool> {
    let audit = entry(Action::RevokeApiKey, seconds).about_key(key);
    let event = outbox_row(OutboxKind::SessionsChanged, seconds);
    let revoke = RevokeApiKey { account: account.user_id, key, now: at(seconds), event, audit };
    Ok(store.transact(&revoke).await?)
}

async fn listed(store: &dyn Store, account: &Account, since: Timestamp) -> Result<Vec<Uuid>> {
    let keys = store.api_keys(account.user_id, since).await?;
    Ok(keys.into_iter().map(|key| key.id).collect())
}

pub async fn created_key_is_found_by_its_hash(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let mut key = new_key(&ada, "k", 1);
    key.expires_at = Some(at(1000));
    store.transact(&create(key.clone())).await?;
    let (found, owner) = stored(&*store, "k").await?;
    let NewApiKey { id, account, name, prefix, scopes, created_at, expires_at, .. } = key;
    let (epoch, last_used_at, revoked_at) = (1, None, None);
    let expected = ApiKey {
        id,
        account,
        name,
        prefix,
        scopes,
        epoch,
        created_at,
        expires_at,
        last_used_at,
        revoked_at,
    };
    ensure!(found == expected, "{found:?}");
    ensure!(owner == Some(ada), "{owner:?}");
    ensure!(store.api_key(&hash("x")).await?.is_none(), "found by another hash");
    let log = store.audit_log(None, 10).await?;
    let recorded = log.iter().find(|entry| entry.action == "create_api_key");
    ensure!(recorded.is_some_and(|entry| entry.api_key == Some(id)), "{log:?}");
    Ok(())
}

pub async fn keys_are_listed_newest_first(store: Arc<dyn Store>) -> Result<()> {
    let (ada, bob) = (register(&*store, "ada", 0).await?, register(&*store, "bob", 0).await?);
    let first = created(&*store, &ada, "a", 1).await?;
    let second = created(&*store, &ada, "b", 2).await?;
    let third = created(&*store, &ada, "c", 3).await?;
    created(&*store, &bob, "d", 4).await?;
    ensure!(revoke(&*store, &ada, second, 10).await?, "not revoked");
    let current = listed(&*store, &ada, Timestamp::MAX).await?;
    ensure!(current == [third, first], "{current:?}");
    let recent = listed(&*store, &ada, at(9)).await?;
    ensure!(recent == [third, second, first], "{recent:?}");
    let later = listed(&*store, &ada, at(10)).await?;
    ensure!(later == [third, first], "{later:?}");
    Ok(())
}

pub async fn use_of_key_is_recorded_at_intervals(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = created(&*store, &ada, "k", 1).await?;
    created(&*store, &ada, "other", 1).await?;
    let touch = async |seconds: u64| -> Result<Option<Timestamp>> {
        store.touch_api_key(id, at(seconds), at(seconds - 50), at(seconds + 50)).await?;
        Ok(stored(&*store, "k").await?.0.last_used_at)
    };
    for (now, expected) in [
        (1000, 1000),
        (1049, 1000),
        (1050, 1050),
        (1099, 1050),
        // The clock was set back, a little and a lot.
        (1001, 1050),
        (900, 900),
    ] {
        let recorded = touch(now).await?;
        ensure!(recorded == Some(at(expected)), "{now}: {recorded:?}");
    }
    ensure!(stored(&*store, "other").await?.0.last_used_at.is_none(), "another key was touched");
    Ok(())
}

pub async fn key_is_revoked_once_and_only_by_its_owner(store: Arc<dyn Store>) -> Result<()> {
    let (ada, bob) = (register(&*store, "ada", 0).await?, register(&*store, "bob", 0).await?);
    let key = created(&*store, &ada, "k", 1).await?;
    ensure!(!revoke(&*store, &bob, key, 2).await?, "revoked by a stranger");
    let events = async || -> Result<u64> {
        let backlog = store.outbox_backlog().await?;
        let of_sessions = backlog.iter().filter(|it| it.kind == OutboxKind::SessionsChanged);
        Ok(of_sessions.map(|it| it.count).sum())
    };
    ensure!(events().await? == 0, "announced");
    ensure!(revoke(&*store, &ada, key, 3).await?, "not revoked");
    ensure!(events().await? == 1, "not announced");
    let entries = store.audit_log(None, 100).await?.len();
    ensure!(!revoke(&*store, &ada, key, 4).await?, "revoked twice");
    ensure!(store.audit_log(None, 100).await?.len() == entries, "recorded as a success");
    let (found, owner) = stored(&*store, "k").await?;
    ensure!(found.revoked_at == Some(at(3)) && owner == Some(ada), "{found:?}");
    Ok(())
}

pub async fn number_of_keys_is_limited(store: Arc<dyn Store>) -> Result<()> {
    let (ada, bob) = (register(&*store, "ada", 0).await?, register(&*store, "bob", 0).await?);
    let first = created(&*store, &ada, "a", 1).await?;
    let mut expiring = new_key(&ada, "b", 2);
    expiring.expires_at = Some(at(3));
    store.transact(&create(expiring)).await?;
    created(&*store, &ada, "c", 200).await?;
    let refused = CreateKeyOutcome::Rejected(Code::ApiKeyLimit);
    let outcome = store.transact(&create(new_key(&ada, "d", 201))).await?;
    ensure!(outcome == refused, "{outcome:?}");
    created(&*store, &bob, "e", 202).await?;
    ensure!(revoke(&*store, &ada, first, 203).await?, "not revoked");
    created(&*store, &ada, "d", 204).await?;
    let outcome = store.transact(&create(new_key(&ada, "f", 205))).await?;
    ensure!(outcome == refused, "{outcome:?}");
    ensure!(store.api_key(&hash("f")).await?.is_none(), "stored");
    Ok(())
}

pub async fn concurrent_creations_do_not_exceed_the_limit(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let mut creations = tokio::task::JoinSet::new();
    for index in 0..8 {
        let (store, key) = (store.clone(), new_key(&ada, &format!("k{index}"), 1));
        creations.spawn(async move { store.transact(&create(key)).await });
    }
    let mut count = 0;
    for outcome in creations.join_all().await {
        count += usize::from(outcome? == CreateKeyOutcome::Created);
    }
    let listed = listed(&*store, &ada, Timestamp::MAX).await?;
    ensure!((count, listed.len()) == (3, 3), "{count} {listed:?}");
    Ok(())
}

pub async fn creations_are_limited_in_window(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    for seconds in 1..=5 {
        let key = created(&*store, &ada, &format!("k{seconds}"), seconds).await?;
        ensure!(revoke(&*store, &ada, key, seconds).await?, "not revoked");
    }
    let outcome = store.transact(&create(new_key(&ada, "k6", 100))).await?;
    ensure!(outcome == CreateKeyOutcome::TooMany(at(1)), "{outcome:?}");
    created(&*store, &ada, "k6", 101).await?;
    Ok(())
}

pub async fn scopes_of_admins_require_the_role(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let mut key = new_key(&ada, "k", 1);
    key.scopes = vec![Scope::TasksRead, Scope::Worker];
    let refused = store.transact(&create(key.clone())).await?;
    ensure!(refused == CreateKeyOutcome::Rejected(Code::Forbidden), "{refused:?}");
    set_roles(&*store, &ada, &[Role::User, Role::Admin], 2).await?;
    ensure!(store.transact(&create(key.clone())).await? == CreateKeyOutcome::Created, "refused");
    key.account = Uuid::nil();
    let unknown = store.transact(&create(key)).await?;
    ensure!(unknown == CreateKeyOutcome::Rejected(Code::TokenRevoked), "{unknown:?}");
    Ok(())
}

async fn set_roles(
    store: &dyn Store,
    account: &Account,
    roles: &[Role],
    seconds: u64,
) -> Result<()> {
    let set = SetRoles {
        account: account.user_id,
        roles: roles.to_vec(),
        event: outbox_row(OutboxKind::SessionsChanged, seconds),
        audit: entry(Action::SetRoles, seconds),
    };
    ensure!(store.transact(&set).await?.is_ok(), "the roles were not set");
    Ok(())
}

pub async fn change_of_roles_increments_epochs_of_keys(store: Arc<dyn Store>) -> Result<()> {
    let (ada, bob) = (register(&*store, "ada", 0).await?, register(&*store, "bob", 0).await?);
    created(&*store, &ada, "a", 1).await?;
    created(&*store, &bob, "b", 1).await?;
    set_roles(&*store, &ada, &[Role::User, Role::Admin], 2).await?;
    let (key, owner) = stored(&*store, "a").await?;
    let roles = owner.map(|owner| owner.roles);
    ensure!(key.epoch == 2 && roles == Some(vec![Role::User, Role::Admin]), "{key:?} {roles:?}");
    ensure!(stored(&*store, "b").await?.0.epoch == 1, "a key of another account has changed");
    Ok(())
}

pub async fn disabled_account_has_no_keys(store: Arc<dyn Store>) -> Result<()> {
    let (ada, bob) = (register(&*store, "ada", 0).await?, register(&*store, "bob", 0).await?);
    let session = open(&*store, &ada, "t", 1).await?;
    let hers = created(&*store, &ada, "a", 1).await?;
    let his = created(&*store, &bob, "b", 1).await?;
    let set = async |disabled: bool, seconds| {
        let set = SetDisabled {
            account: ada.user_id,
            disabled,
            now: at(seconds),
            event: outbox_row(OutboxKind::SessionsChanged, seconds),
            audit: entry(Action::DisableAccount, seconds),
        };
        store.transact(&set).await?.map_err(|code| anyhow::anyhow!("{code}"))
    };
    let disabled = set(true, 2).await?;
    ensure!(disabled.ended == [session, hers], "{disabled:?}");
    set(false, 3).await?;
    ensure!(stored(&*store, "a").await?.0.revoked_at == Some(at(2)), "valid again");
    ensure!(listed(&*store, &bob, Timestamp::MAX).await? == [his], "a key of another account");
    Ok(())
}

pub async fn deleted_account_has_no_keys(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let key = created(&*store, &ada, "a", 1).await?;
    let delete = DeleteAccount {
        account: ada.user_id,
        now: at(2),
        event: outbox_row(OutboxKind::AccountDeleted, 2),
        notice: outbox_row(OutboxKind::Mail, 2),
        audit: entry(Action::DeleteAccount, 2),
    };
    let ended = store.transact(&delete).await?;
    ensure!(ended.as_deref() == Ok(&[key]), "{ended:?}");
    let (found, owner) = stored(&*store, "a").await?;
    ensure!(found.revoked_at == Some(at(2)) && owner.is_none(), "{found:?} {owner:?}");
    Ok(())
}

/// What the previous release does to an account, without regard to its keys.
#[derive(Clone, Copy)]
enum Previous {
    Disable(Uuid),
    Delete(Uuid),
}

#[async_trait]
impl Operation for Previous {
    type Output = ();

    const NAME: &'static str = "previous";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<()>> {
        match *self {
            Self::Disable(account) => tx.set_disabled_at(account, Some(at(2))).await?,
            Self::Delete(account) => tx.delete_account(account).await.map(drop)?,
        }
        Ok(Outcome::Commit(()))
    }
}

pub async fn enabled_account_has_no_earlier_keys(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let key = created(&*store, &ada, "a", 1).await?;
    store.transact(&Previous::Disable(ada.user_id)).await?;
    let enable = SetDisabled {
        account: ada.user_id,
        disabled: false,
        now: at(3),
        event: outbox_row(OutboxKind::SessionsChanged, 3),
        audit: entry(Action::EnableAccount, 3),
    };
    let enabled = store.transact(&enable).await?.map_err(|code| anyhow::anyhow!("{code}"))?;
    ensure!(enabled.ended == [key] && !enabled.account.disabled, "{enabled:?}");
    ensure!(stored(&*store, "a").await?.0.revoked_at == Some(at(3)), "not revoked");
    Ok(())
}

pub async fn keys_without_owner_are_revoked(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    created(&*store, &ada, "ada", 1).await?;
    for (name, previous) in
        [("bob", Previous::Disable as fn(Uuid) -> Previous), ("cyd", Previous::Delete)]
    {
        let account = register(&*store, name, 0).await?;
        created(&*store, &account, name, 1).await?;
        let revoked = created(&*store, &account, &format!("{name}, revoked"), 1).await?;
        ensure!(revoke(&*store, &account, revoked, 2).await?, "not revoked");
        store.transact(&previous(account.user_id)).await?;
    }
    for (seconds, expected) in [(5, 2), (6, 0)] {
        let count = store.revoke_api_keys_without_owner(at(seconds)).await?;
        ensure!(count == expected, "{count} keys were revoked");
    }
    for (text, revoked_at) in [
        ("ada", None),
        ("bob", Some(at(5))),
        ("cyd", Some(at(5))),
        ("bob, revoked", Some(at(2))),
        ("cyd, revoked", Some(at(2))),
    ] {
        let (key, _) = stored(&*store, text).await?;
        ensure!(key.revoked_at == revoked_at, "{text}: {key:?}");
    }
    Ok(())
}

pub async fn ended_keys_are_purged_later(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    created(&*store, &ada, "active", 1).await?;
    for (text, expires_at) in [("expired", 100), ("valid", 300)] {
        let mut key = new_key(&ada, text, 2);
        key.expires_at = Some(at(expires_at));
        store.transact(&create(key)).await?;
    }
    let revoked = created_of(&*store, "bob", "revoked", None).await?;
    let late = created_of(&*store, "cyd", "revoked late", Some(90)).await?;
    for ((account, key), seconds) in [(revoked, 100), (late, 200)] {
        ensure!(revoke(&*store, &account, key, seconds).await?, "not revoked");
    }
    let limits = ExpiryLimits {
        now: at(0),
        codes_before: at(0),
        api_keys_before: at(100),
        failures_before: at(0),
        audit_before: at(0),
        mails_before: at(0),
    };
    store.purge(limits).await?;
    for (text, is_stored) in [
        ("active", true),
        ("valid", true),
        ("expired", false),
        ("revoked", false),
        ("revoked late", true),
    ] {
        ensure!(store.api_key(&hash(text)).await?.is_some() == is_stored, "{text}");
    }
    Ok(())
}

/// Creates a key of a new account.
async fn created_of(
    store: &dyn Store,
    name: &str,
    text: &str,
    expires_at: Option<u64>,
) -> Result<(Account, Uuid)> {
    let account = register(store, name, 0).await?;
    let mut key = new_key(&account, text, 3);
    key.expires_at = expires_at.map(at);
    let id = key.id;
    store.transact(&create(key)).await?;
    Ok((account, id))
}

pub async fn keys_from_before_a_restore_are_revoked(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    open(&*store, &ada, "t", 1).await?;
    created(&*store, &ada, "a", 1).await?;
    let key = created(&*store, &ada, "b", 1).await?;
    ensure!(revoke(&*store, &ada, key, 2).await?, "not revoked");
    let revoked = store.revoke_all(at(5)).await?;
    ensure!(revoked == Revoked { sessions: 1, api_keys: 1 }, "{revoked:?}");
    ensure!(store.revoke_all(at(6)).await? == Revoked::default(), "revoked twice");
    ensure!(stored(&*store, "a").await?.0.revoked_at == Some(at(5)), "not revoked");
    ensure!(stored(&*store, "b").await?.0.revoked_at == Some(at(2)), "revoked again");
    Ok(())
}
