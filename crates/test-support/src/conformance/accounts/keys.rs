//! Signing keys.

use std::sync::Arc;

use anyhow::{Result, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::store::SealedKey;

use super::at;

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
