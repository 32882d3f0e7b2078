//! Sessions.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::audit::Action;
use miniapp_accounts::operations::{EndSession, RotateSession, Rotation};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_accounts::password::PasswordHash;
use miniapp_types::account::Account;
use miniapp_types::problem::Code;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    at, entry, epoch, new_session, open, open_session, outbox_row, password_of, refresh, register,
};

fn end_session(account: &Account, session: Uuid, seconds: u64) -> EndSession {
    EndSession {
        account: account.user_id,
        session,
        now: at(seconds),
        audit: entry(Action::RevokeSession, seconds).about(account),
    }
}

async fn rotate(store: &dyn Store, used: &str, next: &str, seconds: u64) -> Result<Rotation> {
    let notice = |_: &str| anyhow::Ok(outbox_row(OutboxKind::Mail, seconds));
    let rotate = RotateSession {
        used: refresh(used),
        next: refresh(next),
        now: at(seconds),
        expires_at: at(seconds + 3600),
        notice: &notice,
        audit: entry(Action::Refresh, seconds),
    };
    Ok(store.transact(&rotate).await?)
}

pub async fn opened_session_is_found(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = open(&*store, &ada, "t", 1).await?;
    let (session, account) = store.session(id).await?.context("not found")?;
    ensure!(account == ada, "wrong account");
    ensure!((session.id, session.account, session.epoch) == (id, ada.user_id, 1), "{session:?}");
    ensure!((session.created_at, session.last_used_at) == (at(1), at(1)), "{session:?}");
    ensure!((session.expires_at, session.ended_at) == (at(3601), None), "{session:?}");
    ensure!(session.ip.as_deref() == Some("192.0.2.1"), "{session:?}");
    ensure!(session.user_agent.as_deref() == Some("tests"), "{session:?}");
    let listed = store.sessions(ada.user_id).await?;
    ensure!(listed == [session], "{listed:?}");
    ensure!(store.session(Uuid::nil()).await?.is_none(), "found a session that does not exist");
    Ok(())
}

pub async fn opening_a_session_requires_current_hash(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let old = PasswordHash::from_phc("an older hash");
    let open = open_session(new_session(&ada, "t", 1, 1), old, [0; 32], 1);
    let opened = store.transact(&open).await?;
    ensure!(opened == Err(Code::CredentialsInvalid), "{opened:?}");
    ensure!(store.sessions(ada.user_id).await?.is_empty(), "a session was opened");
    Ok(())
}

pub async fn oldest_sessions_end_above_limit(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let bob = register(&*store, "bob", 0).await?;
    let foreign = open(&*store, &bob, "foreign", 1).await?;
    let mut ids = Vec::new();
    for (index, token) in (1..).zip(["a", "b", "c"]) {
        ids.push(open(&*store, &ada, token, index).await?);
    }
    let password = password_of(&*store, &ada).await?;
    let new = new_session(&ada, "d", 10, 2);
    let id = new.id;
    let ended = store.transact(&open_session(new, password, [0; 32], 10)).await?;
    let mut ended = ended.map_err(|code| anyhow!("no session was opened: {code}"))?;
    ended.sort();
    ensure!(ended == ids[..2], "{ended:?} of {ids:?}");
    for (session, is_active) in
        [(ids[0], false), (ids[1], false), (ids[2], true), (id, true), (foreign, true)]
    {
        ensure!(
            epoch(&*store, session).await?.is_some() == is_active,
            "{session} is active: {}",
            !is_active
        );
    }
    Ok(())
}

pub async fn refresh_increments_epoch(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = open(&*store, &ada, "first", 1).await?;
    let Rotation::Rotated { session, account } = rotate(&*store, "first", "second", 100).await?
    else {
        bail!("not rotated");
    };
    ensure!(*account == ada, "wrong account");
    ensure!((session.id, session.epoch) == (id, 2), "{session:?}");
    ensure!((session.created_at, session.last_used_at) == (at(1), at(100)), "{session:?}");
    ensure!(session.expires_at == at(3700), "{session:?}");
    ensure!(epoch(&*store, id).await? == Some(2), "the epoch was not stored");
    let again = rotate(&*store, "second", "third", 3699).await?;
    ensure!(matches!(again, Rotation::Rotated { session, .. } if session.epoch == 3));
    let log = store.audit_log(None, 1).await?;
    ensure!(log[0].account == Some(ada.user_id) && log[0].login.is_some(), "{log:?}");
    Ok(())
}

pub async fn reused_refresh_token_ends_session(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = open(&*store, &ada, "first", 1).await?;
    rotate(&*store, "first", "second", 2).await?;
    rotate(&*store, "second", "third", 3).await?;
    let reused = rotate(&*store, "first", "x", 4).await?;
    ensure!(reused == Rotation::Reused { session: id, ended: true }, "{reused:?}");
    ensure!(epoch(&*store, id).await?.is_none(), "the session is active");
    let newest = rotate(&*store, "third", "y", 5).await?;
    ensure!(newest == Rotation::Ended, "{newest:?}");
    let again = rotate(&*store, "second", "z", 6).await?;
    ensure!(again == Rotation::Reused { session: id, ended: false }, "{again:?}");
    Ok(())
}

pub async fn owner_gets_one_mail_about_a_reused_token(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = open(&*store, &ada, "first", 1).await?;
    rotate(&*store, "first", "second", 2).await?;
    store.claim_outbox_messages(at(100), at(1000), 10).await?;
    let mailboxes = Mutex::new(Vec::new());
    let notice = outbox_row(OutboxKind::Mail, 3);
    let write = |mailbox: &str| {
        mailboxes.lock().push(mailbox.to_owned());
        anyhow::Ok(notice.clone())
    };
    let reuse = RotateSession {
        used: refresh("first"),
        next: refresh("x"),
        now: at(3),
        expires_at: at(3603),
        notice: &write,
        audit: entry(Action::Refresh, 3),
    };
    for ended in [true, false] {
        let reused = store.transact(&reuse).await?;
        ensure!(reused == Rotation::Reused { session: id, ended }, "{reused:?}");
        ensure!(epoch(&*store, id).await?.is_none(), "the session is active");
    }
    ensure!(*mailboxes.lock() == [ada.email.clone()], "{mailboxes:?}");
    let mails = store.claim_outbox_messages(at(100), at(1000), 10).await?;
    ensure!(mails.len() == 1 && mails[0].id == notice.id, "{mails:?}");
    Ok(())
}

pub async fn rejected_refreshes_are_recorded_with_their_session(
    store: Arc<dyn Store>,
) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let reused = open(&*store, &ada, "reused", 1).await?;
    rotate(&*store, "reused", "next", 2).await?;
    let ended = open(&*store, &ada, "ended", 3).await?;
    store.transact(&end_session(&ada, ended, 4)).await?;
    for (token, seconds, outcome, session) in [
        ("next", 5, "ok", Some(reused)),
        ("reused", 6, "token_reused", Some(reused)),
        ("ended", 7, "token_revoked", Some(ended)),
        ("unknown", 8, "token_invalid", None),
    ] {
        rotate(&*store, token, "other", seconds).await?;
        let log = store.audit_log(None, 1).await?;
        let newest = log.first().context("nothing was recorded")?;
        let account = session.map(|_| ada.user_id);
        ensure!(
            (newest.outcome.as_str(), newest.session, newest.account)
                == (outcome, session, account),
            "{token}: {newest:?}"
        );
        ensure!(newest.login.is_some() == session.is_some(), "{token}: {newest:?}");
        let actor = account.filter(|_| outcome == "ok");
        ensure!(newest.actor == actor, "{token}: {newest:?}");
    }
    Ok(())
}

pub async fn concurrent_refreshes_rotate_once(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = open(&*store, &ada, "first", 1).await?;
    let mut attempts = tokio::task::JoinSet::new();
    for index in 0..16 {
        let store = store.clone();
        attempts.spawn(async move { rotate(&*store, "first", &format!("next {index}"), 2).await });
    }
    let (mut rotated, mut ended) = (0, 0);
    for outcome in attempts.join_all().await {
        match outcome? {
            Rotation::Rotated { .. } => rotated += 1,
            Rotation::Reused { session, ended: by_this } if session == id => {
                ended += u32::from(by_this);
            }
            other => bail!("{other:?}"),
        }
    }
    ensure!((rotated, ended) == (1, 1), "{rotated} rotated, {ended} ended the session");
    Ok(())
}

pub async fn rejected_refresh_tokens_have_distinct_reasons(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = open(&*store, &ada, "ended", 1).await?;
    open(&*store, &ada, "old", 2).await?;
    store.transact(&end_session(&ada, id, 3)).await?;
    for (token, expected) in
        [("ended", Rotation::Ended), ("old", Rotation::Expired), ("unknown", Rotation::Unknown)]
    {
        let refused = rotate(&*store, token, "next", 3602).await?;
        ensure!(refused == expected, "{token}: {refused:?}");
    }
    Ok(())
}

pub async fn session_ends_once_and_only_by_its_owner(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let bob = register(&*store, "bob", 0).await?;
    let id = open(&*store, &ada, "t", 1).await?;
    for (account, expected) in [(&bob, false), (&ada, true), (&ada, false)] {
        let ended = store.transact(&end_session(account, id, 2)).await?;
        ensure!(ended == expected, "{} ended it: {ended}", account.login);
    }
    ensure!(epoch(&*store, id).await?.is_none(), "the session is active");
    let listed = store.sessions(ada.user_id).await?;
    ensure!(listed.len() == 1 && listed[0].ended_at == Some(at(2)), "{listed:?}");
    let old = open(&*store, &ada, "old", 10).await?;
    let ended = store.transact(&end_session(&ada, old, 5000)).await?;
    ensure!(!ended, "an expired session was ended");
    Ok(())
}
