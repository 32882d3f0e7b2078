//! Signing keys.

use std::sync::Arc;

use anyhow::{Result, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::audit::Action;
use miniapp_accounts::operations::{ReplacedKeys, RotateKeys};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_accounts::store::SealedKey;

use super::{at, claim_messages, entry, outbox_row};

fn key(kid: &str, follows: &str, seconds: u64) -> SealedKey {
    SealedKey {
        kid: kid.to_owned(),
        follows: follows.to_owned(),
        public: [5; 32],
        sealed: vec![0, 1, 255],
        signs_from: at(seconds),
    }
}

pub async fn signing_key_round_trips(store: Arc<dyn Store>) -> Result<()> {
    ensure!(store.signing_keys().await?.is_empty(), "found a key in an empty store");
    let first = key("a", "", 1);
    ensure!(store.add_signing_key(&first).await?, "not added");
    let keys = store.signing_keys().await?;
    ensure!(keys == [first], "{keys:?}");
    store.remove_signing_key("a").await?;
    store.remove_signing_key("a").await?;
    ensure!(store.signing_keys().await?.is_empty(), "not removed");
    Ok(())
}

pub async fn signing_key_has_one_successor(store: Arc<dyn Store>) -> Result<()> {
    for follows in ["", "first"] {
        let mut attempts = tokio::task::JoinSet::new();
        for index in 0..8 {
            let kid = if follows.is_empty() && index == 0 {
                "first".to_owned()
            } else {
                format!("{follows}{index}")
            };
            let (store, key) = (store.clone(), key(&kid, follows, 1));
            attempts.spawn(async move { store.add_signing_key(&key).await });
        }
        let mut added = 0;
        for outcome in attempts.join_all().await {
            added += u32::from(outcome?);
        }
        ensure!(added == 1, "{added} follow {follows:?}");
    }
    ensure!(store.signing_keys().await?.len() == 2, "more keys than were added");
    Ok(())
}

pub async fn signing_key_is_resealed_once(store: Arc<dyn Store>) -> Result<()> {
    let stored = key("a", "", 1);
    ensure!(store.add_signing_key(&stored).await?, "not added");
    // Replicas that start together have read the same.
    let mut attempts = tokio::task::JoinSet::new();
    for index in 0..8 {
        let (store, stored) = (store.clone(), stored.clone());
        attempts.spawn(async move { store.reseal_signing_key(&stored, &[index]).await });
    }
    let mut resealed = 0;
    for outcome in attempts.join_all().await {
        resealed += u32::from(outcome?);
    }
    ensure!(resealed == 1, "sealed {resealed} times");
    let keys = store.signing_keys().await?;
    ensure!(keys.len() == 1 && keys[0].sealed.len() == 1, "{keys:?}");
    store.remove_signing_key("a").await?;
    ensure!(!store.reseal_signing_key(&stored, &[9]).await?, "a removed key is back");
    ensure!(store.signing_keys().await?.is_empty(), "a removed key is back");
    Ok(())
}

async fn rotate(store: &dyn Store, kid: &str, compromised: bool) -> Result<ReplacedKeys> {
    let (key, audit) = (key(kid, "", 5), entry(Action::RotateKeys, 5));
    let events = if compromised { vec![outbox_row(OutboxKind::AccountDeleted, 5)] } else { vec![] };
    Ok(store.transact(&RotateKeys { key, compromised, events, audit }).await?)
}

async fn kids(store: &dyn Store) -> Result<Vec<String>> {
    let mut kids: Vec<_> = store.signing_keys().await?.into_iter().map(|key| key.kid).collect();
    kids.sort();
    Ok(kids)
}

pub async fn rotated_key_replaces_later_ones(store: Arc<dyn Store>) -> Result<()> {
    let replaced = rotate(&*store, "first", false).await?;
    ensure!(replaced == ReplacedKeys::default(), "{replaced:?}");
    // The scheduled successor, which does not sign yet.
    ensure!(store.add_signing_key(&key("next", "first", 9)).await?, "not added");
    let replaced = rotate(&*store, "new", false).await?;
    ensure!(replaced.retiring == ["first"] && replaced.removed == ["next"], "{replaced:?}");
    ensure!(kids(&*store).await? == ["first", "new"]);
    let added = store.add_signing_key(&key("other", "first", 9)).await?;
    ensure!(!added, "the replaced key got a second successor");
    ensure!(store.add_signing_key(&key("later", "new", 9)).await?, "the chain ends");
    let audit = store.audit_log(None, 10).await?;
    ensure!(audit.len() == 2 && audit[0].action == "rotate_keys", "{audit:?}");
    Ok(())
}

pub async fn rotation_of_compromised_keys_removes_them(store: Arc<dyn Store>) -> Result<()> {
    ensure!(store.add_signing_key(&key("old", "", 1)).await?, "not added");
    ensure!(store.add_signing_key(&key("current", "old", 2)).await?, "not added");
    let mut replaced = rotate(&*store, "new", true).await?;
    replaced.removed.sort();
    ensure!(replaced.removed == ["current", "old"] && replaced.retiring.is_empty());
    ensure!(kids(&*store).await? == ["new"]);
    let events = claim_messages(&*store, at(5), at(60), 10).await?;
    ensure!(events.len() == 1, "{events:?}");
    // A replica that has not read the keys since.
    let added = store.add_signing_key(&key("late", "current", 9)).await?;
    ensure!(!added, "a removed key got a successor");
    Ok(())
}

pub async fn concurrent_rotations_leave_one_chain(store: Arc<dyn Store>) -> Result<()> {
    ensure!(store.add_signing_key(&key("first", "", 1)).await?, "not added");
    let mut attempts = tokio::task::JoinSet::new();
    for index in 0..4 {
        let store = store.clone();
        attempts.spawn(async move { rotate(&*store, &format!("new{index}"), false).await });
    }
    for outcome in attempts.join_all().await {
        outcome?;
    }
    let keys = store.signing_keys().await?;
    let is_followed = |kid: &str| keys.iter().any(|key| key.follows == kid);
    let ends = keys.iter().filter(|key| !is_followed(&key.kid)).count();
    ensure!(keys.len() == 5 && ends == 1, "{keys:?}");
    Ok(())
}
