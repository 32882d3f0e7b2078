//! Replacing refresh tokens.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::operations::{Refreshed, RotateSession, Rotation};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_types::account::Secret;
use parking_lot::Mutex;

use super::{
    at, claim_messages, end_session, epoch, is_active, next, open, outbox_row, register, rotate,
    rotation,
};

pub async fn refresh_increments_epoch(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = open(&*store, &ada, "first", 1).await?;
    let Rotation::Rotated(refreshed) = rotate(&*store, &Secret::new("first"), 100).await? else {
        bail!("not rotated");
    };
    let Refreshed { session, account, token } = *refreshed;
    ensure!(account == ada, "wrong account");
    ensure!((session.id, session.epoch) == (id, 2), "{session:?}");
    ensure!((session.created_at, session.last_used_at) == (at(1), at(100)), "{session:?}");
    ensure!(session.expires_at == at(3700), "{session:?}");
    ensure!(epoch(&*store, id).await? == Some(2), "the epoch was not stored");
    let again = rotate(&*store, &token, 3699).await?;
    ensure!(matches!(again, Rotation::Rotated(it) if it.session.epoch == 3 && it.token != token));
    let log = store.audit_log(None, 1).await?;
    ensure!(log[0].account == Some(ada.user_id) && log[0].login.is_some(), "{log:?}");
    Ok(())
}

pub async fn reused_refresh_token_ends_session(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = open(&*store, &ada, "first", 1).await?;
    let first = Secret::new("first");
    let second = next(&*store, &first, 2).await?;
    let third = next(&*store, &second, 3).await?;
    // The successor was used.
    let reused = rotate(&*store, &first, 4).await?;
    ensure!(reused == Rotation::Reused { session: id, ended: true }, "{reused:?}");
    ensure!(epoch(&*store, id).await?.is_none(), "the session is active");
    let newest = rotate(&*store, &third, 5).await?;
    ensure!(newest == Rotation::Ended, "{newest:?}");
    let again = rotate(&*store, &second, 6).await?;
    ensure!(again == Rotation::Reused { session: id, ended: false }, "{again:?}");
    Ok(())
}

pub async fn unused_successor_is_issued_again(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = open(&*store, &ada, "first", 1).await?;
    let first = Secret::new("first");
    let Rotation::Rotated(rotated) = rotate(&*store, &first, 100).await? else {
        bail!("not rotated");
    };
    for seconds in [100, 105, 109] {
        let again = rotate(&*store, &first, seconds).await?;
        ensure!(again == Rotation::Reissued(rotated.clone()), "{again:?}");
        let log = store.audit_log(None, 1).await?;
        let newest = log.first().context("nothing was recorded")?;
        ensure!((&*newest.action, &*newest.outcome) == ("reissue_tokens", "ok"), "{newest:?}");
        ensure!((newest.session, newest.actor) == (Some(id), Some(ada.user_id)), "{newest:?}");
    }
    let third = next(&*store, &rotated.token, 109).await?;
    // The grace of each token begins with its own use.
    let again = rotate(&*store, &rotated.token, 118).await?;
    ensure!(matches!(again, Rotation::Reissued(it) if it.token == third && it.session.epoch == 3));
    ensure!(is_active(&*store, id).await?, "the session has ended");
    Ok(())
}

pub async fn successor_is_not_issued_again_after_its_grace(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let notice = |_: &str| anyhow::Ok(outbox_row(OutboxKind::Mail, 1));
    for (index, grace, after) in [(0, 10, 10), (1, 10, 60), (2, 0, 0)] {
        let token = format!("token {index}");
        let id = open(&*store, &ada, &token, 100).await?;
        let token = Secret::new(token);
        next(&*store, &token, 101).await?;
        let again = RotateSession {
            grace: Duration::from_secs(grace),
            ..rotation(&token, 101 + after, &notice)
        };
        let reused = store.transact(&again).await?;
        ensure!(reused == Rotation::Reused { session: id, ended: true }, "{grace}: {reused:?}");
    }
    // The session has ended or expired.
    let id = open(&*store, &ada, "ended", 200).await?;
    let token = Secret::new("ended");
    next(&*store, &token, 201).await?;
    store.transact(&end_session(&ada, id, 202)).await?;
    let reused = rotate(&*store, &token, 203).await?;
    ensure!(reused == Rotation::Reused { session: id, ended: false }, "{reused:?}");
    Ok(())
}

pub async fn successor_is_not_issued_again_after_the_clock_was_set_back(
    store: Arc<dyn Store>,
) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let mut opened = Vec::new();
    for (name, seconds) in [("past", 500), ("future", 1000), ("seen", 500), ("kept", 480)] {
        let id = open(&*store, &ada, name, 1).await?;
        let token = Secret::new(name);
        next(&*store, &token, seconds).await?;
        opened.push((id, token));
    }
    let [(past, of_past), (future, of_future), (seen, of_seen), (kept, of_kept)] = &*opened else {
        bail!("four sessions");
    };
    // The clocks of processes differ by less than a second.
    let again = rotate(&*store, of_past, 499).await?;
    ensure!(matches!(again, Rotation::Reissued(_)), "{again:?}");
    let reused = rotate(&*store, of_past, 490).await?;
    ensure!(reused == Rotation::Reused { session: *past, ended: true }, "{reused:?}");

    // A process that starts, or has seen the step, ends the grace for good.
    ensure!(store.end_refresh_grace(at(900)).await? == 1);
    ensure!(store.end_refresh_grace(at(485)).await? == 2);
    ensure!(store.end_refresh_grace(at(485)).await? == 0);
    for (id, token, seconds) in [(future, of_future, 1001), (seen, of_seen, 501)] {
        let reused = rotate(&*store, token, seconds).await?;
        ensure!(reused == Rotation::Reused { session: *id, ended: true }, "{reused:?}");
    }
    let again = rotate(&*store, of_kept, 481).await?;
    ensure!(matches!(again, Rotation::Reissued(it) if it.session.id == *kept));
    Ok(())
}

pub async fn owner_gets_one_mail_about_a_reused_token(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let id = open(&*store, &ada, "first", 1).await?;
    let first = Secret::new("first");
    next(&*store, &first, 2).await?;
    claim_messages(&*store, at(100), at(1000), 10).await?;
    let mailboxes = Mutex::new(Vec::new());
    let notice = outbox_row(OutboxKind::Mail, 3);
    let write = |mailbox: &str| {
        mailboxes.lock().push(mailbox.to_owned());
        anyhow::Ok(notice.clone())
    };
    let reuse = rotation(&first, 20, &write);
    for ended in [true, false] {
        let reused = store.transact(&reuse).await?;
        ensure!(reused == Rotation::Reused { session: id, ended }, "{reused:?}");
        ensure!(epoch(&*store, id).await?.is_none(), "the session is active");
    }
    ensure!(*mailboxes.lock() == [ada.email.clone()], "{mailboxes:?}");
    let mails = claim_messages(&*store, at(100), at(1000), 10).await?;
    ensure!(mails.len() == 1 && mails[0].id == notice.id, "{mails:?}");
    Ok(())
}

pub async fn rejected_refreshes_are_recorded_with_their_session(
    store: Arc<dyn Store>,
) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let reused = open(&*store, &ada, "reused", 1).await?;
    let following = next(&*store, &Secret::new("reused"), 2).await?;
    let ended = open(&*store, &ada, "ended", 3).await?;
    store.transact(&end_session(&ada, ended, 4)).await?;
    for (token, seconds, outcome, session) in [
        (following.expose(), 5, "ok", Some(reused)),
        ("reused", 6, "token_reused", Some(reused)),
        ("ended", 7, "token_revoked", Some(ended)),
        ("unknown", 8, "token_invalid", None),
    ] {
        rotate(&*store, &Secret::new(token), seconds).await?;
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
    for _ in 0..16 {
        let store = store.clone();
        attempts.spawn(async move { rotate(&*store, &Secret::new("first"), 2).await });
    }
    let (mut rotated, mut all) = (0, Vec::new());
    for outcome in attempts.join_all().await {
        match outcome? {
            Rotation::Rotated(refreshed) => {
                rotated += 1;
                all.push(refreshed);
            }
            Rotation::Reissued(refreshed) => all.push(refreshed),
            other => bail!("{other:?}"),
        }
    }
    ensure!(rotated == 1, "{rotated} rotated");
    ensure!(all.iter().all(|it| *it == all[0]) && all[0].session.id == id, "{all:?}");
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
        let refused = rotate(&*store, &Secret::new(token), 3602).await?;
        ensure!(refused == expected, "{token}: {refused:?}");
    }
    Ok(())
}
