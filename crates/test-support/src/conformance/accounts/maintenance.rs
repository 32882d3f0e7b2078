//! The audit log and expired rows.

use std::sync::Arc;

use anyhow::{Result, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::audit::{Action, AuditEntry, Caller};
use miniapp_accounts::mail::{InboxMail, Mail};
use miniapp_accounts::operations::{RecordFailure, RegisterOutcome, Rotation};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_accounts::store::ExpiryLimits;
use miniapp_runtime::clock;
use miniapp_types::account::{Role, Secret};
use miniapp_types::problem::Code;

use super::{at, entry, new_account, open, outbox_row, register, rotation, verify};

pub async fn ping_succeeds(store: Arc<dyn Store>) -> Result<()> {
    store.ping().await?;
    Ok(())
}

pub async fn audit_log_is_paginated(store: Arc<dyn Store>) -> Result<()> {
    let caller = Caller { ip: Some([192, 0, 2, 7].into()), user_agent: None };
    let ada = new_account("ada", "ada@example.com", 0)?.account;
    let session = clock::id_at(at(0));
    let mut entries = Vec::new();
    for seconds in 0..5 {
        let mut entry = AuditEntry::new(Action::SignIn, at(seconds), &caller);
        if seconds == 3 {
            let roles = [Role::User, Role::Admin];
            entry = entry.by(&ada, session).about(&ada).with_roles(Some(&roles[..1]), Some(&roles));
        }
        if seconds == 4 {
            entry = entry.rejected(Code::CredentialsInvalid);
        }
        store.append_audit(&entry).await?;
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
    open(&*store, &ada, "active", 2000).await?;
    let notice = |_: &str| anyhow::Ok(outbox_row(OutboxKind::Mail, 3701));
    let rotate = |seconds| rotation(&Secret::new("active"), seconds, &notice);
    store.transact(&rotate(2001)).await?;
    verify(&*store, "bob@example.com", 3000).await?;
    for seconds in [10, 3500] {
        let failure = RecordFailure { key: [1; 32], audit: entry(Action::SignIn, seconds) };
        store.transact(&failure).await?;
        let mail = Mail {
            id: clock::id_at(at(seconds)),
            to: "ada@example.com".to_owned(),
            subject: String::new(),
            text: String::new(),
            html: String::new(),
        };
        store.add_inbox_mail(&InboxMail { at: at(seconds), mail }).await?;
    }
    let limits = ExpiryLimits {
        now: at(3700),
        codes_before: at(3700),
        api_keys_before: at(100),
        failures_before: at(100),
        audit_before: at(100),
        mails_before: at(100),
    };
    ensure!(store.purge(limits).await? > 0, "nothing was deleted");
    ensure!(store.purge(limits).await? == 0, "the second purge deleted more");

    let sessions = store.sessions(ada.user_id).await?;
    ensure!(sessions.len() == 2 && sessions.iter().all(|s| s.id != old), "{sessions:?}");
    let reused = store.transact(&rotate(3701)).await?;
    ensure!(matches!(reused, Rotation::Reused { .. }), "a used token was deleted");
    ensure!(store.failures(&[1; 32], at(0), at(9000), 10).await? == [at(3500)], "failures");
    ensure!(store.inbox_mails(10).await?.len() == 1, "mails");
    let log = store.audit_log(None, 100).await?;
    ensure!(log.iter().all(|entry| entry.at > at(100)) && !log.is_empty(), "{log:?}");
    let registered = store.transact(&new_account("bob", "bob@example.com", 3702)?).await?;
    ensure!(matches!(registered, RegisterOutcome::Registered(_)), "a verification was deleted");
    ensure!(store.account(ada.user_id).await?.is_some(), "an account was deleted");
    Ok(())
}
