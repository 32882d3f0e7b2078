//! What makes a restored store safe to use.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::after_restore::after_restore;
use miniapp_accounts::audit::Action;
use miniapp_accounts::code::Purpose;
use miniapp_accounts::operations::{DeleteAccount, ReplayDeletion};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_accounts::store::SealedKey;
use miniapp_config::Config;
use miniapp_runtime::clock::ManualClock;
use uuid::Uuid;

use super::{
    at, claim_messages, entry, issue, new_account, open, outbox_row, register, verification, verify,
};

pub async fn nothing_from_before_a_restore_is_valid(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let session = open(&*store, &ada, "t", 1).await?;
    verify(&*store, "bob@example.com", 2).await?;
    store.transact(&issue("cyd@example.com", Purpose::Verification, 3, [4; 32])?).await?;
    let key = SealedKey {
        kid: "k".to_owned(),
        follows: String::new(),
        public: [5; 32],
        sealed: vec![1],
        signs_from: at(1),
    };
    ensure!(store.add_signing_key(&key).await?, "not added");

    ensure!(store.revoke_all(at(5)).await?.sessions == 1, "not one session");
    ensure!(store.revoke_all(at(6)).await?.sessions == 0, "ended twice");
    ensure!(store.session(session).await?.is_none(), "the session is active");
    ensure!(store.sessions(ada.user_id).await?[0].ended_at == Some(at(5)), "not ended");
    ensure!(store.signing_keys().await?.is_empty(), "a signing key is left");
    ensure!(claim_messages(&*store, at(100), at(1000), 10).await?.is_empty(), "a message is left");
    let verified = store.transact(&verification("cyd@example.com", [4; 32], 7)?).await?;
    ensure!(!verified, "the code is valid");
    let registered = store.transact(&new_account("bob", "bob@example.com", 8)?).await?;
    ensure!(format!("{registered:?}").contains("NotVerified"), "{registered:?}");
    ensure!(store.account(ada.user_id).await? == Some(ada), "the account has changed");
    // Requests still count for the cooldown of the address.
    let again =
        store.transact(&issue("cyd@example.com", Purpose::Verification, 9, [4; 32])?).await?;
    ensure!(!format!("{again:?}").contains("Sent"), "{again:?}");
    Ok(())
}

pub async fn deletions_are_recorded(store: Arc<dyn Store>) -> Result<()> {
    let mut deleted = Vec::new();
    for (seconds, name) in [(0, "ada"), (100, "bob"), (200, "cyd")] {
        let account = register(&*store, name, seconds).await?;
        let delete = DeleteAccount {
            account: account.user_id,
            now: at(seconds + 1),
            event: outbox_row(OutboxKind::AccountDeleted, seconds + 1),
            notice: outbox_row(OutboxKind::Mail, seconds + 1),
            audit: entry(Action::DeleteAccount, seconds + 1).about(&account),
        };
        ensure!(store.transact(&delete).await?.is_ok(), "not deleted");
        deleted.push(account.user_id);
    }
    register(&*store, "dan", 300).await?;
    let first = store.deleted_accounts(None, 2).await?;
    let rest = store.deleted_accounts(first.last().copied(), 2).await?;
    ensure!((first.len(), rest.len()) == (2, 1), "{first:?} {rest:?}");
    let listed: Vec<Uuid> = first.into_iter().chain(rest).collect();
    ensure!(listed == deleted, "{listed:?}");
    Ok(())
}

fn replay(account: Uuid, seconds: u64) -> ReplayDeletion {
    ReplayDeletion {
        account,
        now: at(seconds),
        event: outbox_row(OutboxKind::AccountDeleted, seconds),
        audit: entry(Action::DeleteAccount, seconds),
    }
}

pub async fn deletion_is_replayed(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let session = open(&*store, &ada, "t", 1).await?;
    claim_messages(&*store, at(1), at(1000), 10).await?;
    let unknown = Uuid::from_u128(7);
    ensure!(store.transact(&replay(ada.user_id, 2)).await?, "the account was not there");
    ensure!(!store.transact(&replay(ada.user_id, 3)).await?, "deleted twice");
    ensure!(!store.transact(&replay(unknown, 4)).await?, "an unknown account was there");
    ensure!(store.account(ada.user_id).await?.is_none(), "still there");
    ensure!(store.session(session).await?.is_none(), "its session is active");
    let messages = claim_messages(&*store, at(5), at(1000), 10).await?;
    ensure!(messages.len() == 1 && messages[0].kind == OutboxKind::AccountDeleted, "{messages:?}");
    let log = store.audit_log(None, 1).await?;
    ensure!(log[0].account == Some(ada.user_id) && log[0].action == "delete_account", "{log:?}");
    // Another backup may have the other account, too.
    let deleted = store.deleted_accounts(None, 10).await?;
    ensure!(deleted.len() == 2 && deleted.contains(&unknown), "{deleted:?}");
    Ok(())
}

/// The record of a deletion is newer than the account, as after a restore of one table.
pub async fn deleted_account_that_returned_is_deleted_again(store: Arc<dyn Store>) -> Result<()> {
    let gone = Uuid::from_u128(7);
    store.transact(&replay(gone, 1)).await?;
    let returning = new_account("ada", "ada@example.com", 2)?;
    let returned = returning.account.user_id;
    store.transact(&replay(returned, 1)).await?;
    ensure!(store.returned_accounts().await?.is_empty(), "no account exists");
    verify(&*store, "ada@example.com", 2).await?;
    store.transact(&returning).await?;
    register(&*store, "bob", 100).await?;
    let found = store.returned_accounts().await?;
    ensure!(found == [returned], "{found:?}");

    let directory = tempfile::tempdir()?;
    let config = Config::defaults_in(directory.path())?;
    let clock = ManualClock::new(at(200));
    let none = BTreeSet::new();
    let restored = after_restore(&config, &*store, &clock, &none, true).await?;
    ensure!(restored.deleted == [returned], "{restored:?}");
    ensure!(store.account(returned).await?.is_none(), "still there");
    let again = after_restore(&config, &*store, &clock, &none, true).await?;
    ensure!(again.deleted.is_empty(), "deleted twice: {again:?}");
    Ok(())
}
