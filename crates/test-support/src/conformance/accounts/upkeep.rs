//! The audit log, and forgetting.

use std::sync::Arc;

use anyhow::{Result, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::audit::{Action, Caller, Entry};
use miniapp_accounts::mail::{InboxMail, Mail};
use miniapp_accounts::session::Rotation;
use miniapp_accounts::store::{Outdated, Registered};
use miniapp_runtime::clock;
use miniapp_types::problem::Code;

use super::{at, entry, new_account, open, refresh, register, verify};

pub async fn ping_succeeds(store: Arc<dyn Store>) -> Result<()> {
    store.ping().await?;
    Ok(())
}

pub async fn audit_log_is_paginated(store: Arc<dyn Store>) -> Result<()> {
    let caller = Caller { ip: Some([192, 0, 2, 7].into()), user_agent: None };
    let mut entries = Vec::new();
    for seconds in 0..5 {
        let mut entry = Entry::new(Action::SignIn, at(seconds), &caller);
        if seconds == 4 {
            entry = entry.refused(Code::CredentialsInvalid);
        }
        store.audit(entry.clone()).await?;
        entries.insert(0, entry);
    }
    let first = store.audit_log(None, 3).await?;
    ensure!(first == entries[..3], "{first:?}");
    let rest = store.audit_log(Some(first[2].id), 3).await?;
    ensure!(rest == entries[3..], "{rest:?}");
    Ok(())
}

pub async fn purge_removes_only_expired_rows(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let old = open(&*store, &ada, "old", 1).await?;
    open(&*store, &ada, "ended", 1000).await?;
    open(&*store, &ada, "living", 2000).await?;
    let spent_at = entry(Action::Refresh, 2001);
    let (living, next) = (refresh("living"), refresh("next"));
    store.rotate_session(&living, &next, at(2001), at(5601), spent_at).await?;
    verify(&*store, "bob@example.com", 3000).await?;
    for seconds in [10, 3500] {
        store.note_failure(&[1; 32], entry(Action::SignIn, seconds)).await?;
        let mail = Mail {
            id: clock::id_at(at(seconds)),
            to: "ada@example.com".to_owned(),
            subject: String::new(),
            text: String::new(),
            html: String::new(),
        };
        store.add_inbox_mail(&InboxMail { at: at(seconds), mail }).await?;
    }
    let outdated = Outdated {
        now: at(3700),
        codes_before: at(3700),
        failures_before: at(100),
        audit_before: at(100),
        mails_before: at(100),
    };
    ensure!(store.purge(outdated).await? > 0, "nothing was removed");
    ensure!(store.purge(outdated).await? == 0, "more was removed the second time");

    let sessions = store.sessions(ada.user_id).await?;
    ensure!(sessions.len() == 2 && sessions.iter().all(|s| s.id != old), "{sessions:?}");
    let audit = entry(Action::Refresh, 3701);
    let reused = store.rotate_session(&living, &refresh("x"), at(3701), at(9999), audit).await?;
    ensure!(matches!(reused, Rotation::Reused { .. }), "a used token was forgotten");
    ensure!(store.failures(&[1; 32], at(0), 10).await? == [at(3500)], "failures");
    ensure!(store.inbox_mails(10).await?.len() == 1, "mails");
    let log = store.audit_log(None, 100).await?;
    ensure!(log.iter().all(|entry| entry.at > at(100)) && !log.is_empty(), "{log:?}");
    let registered = store.register(new_account("bob", "bob@example.com", 3702)?).await?;
    ensure!(matches!(registered, Registered::Done(_)), "a verification was forgotten");
    ensure!(store.account(ada.user_id).await?.is_some(), "an account was removed");
    Ok(())
}
