//! Sessions.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::password::PasswordHash;
use miniapp_accounts::session::NewSession;
use miniapp_types::account::{Account, Secret};
use miniapp_types::problem::Code;
use uuid::Uuid;

use super::{
    at, end_session, epoch, is_active, new_session, next, open, open_session, password_of, register,
};

/// Opens a session that expires after an hour. Returns its id and the ended ones.
async fn open_with(
    store: &dyn Store,
    account: &Account,
    session: NewSession,
    seconds: u64,
) -> Result<(Uuid, Vec<Uuid>)> {
    let (id, password) = (session.id, password_of(store, account).await?);
    let ended = store.transact(&open_session(session, password, [0; 32], seconds)).await?;
    let mut ended = ended.map_err(|code| anyhow!("no session was opened: {code}"))?;
    ended.sort();
    Ok((id, ended))
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

pub async fn client_has_one_session(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let bob = register(&*store, "bob", 0).await?;
    let session = |account, client: &str, token, seconds| NewSession {
        client: client.to_owned(),
        ..new_session(account, token, seconds, 10)
    };
    let (foreign, _) = open_with(&*store, &bob, session(&bob, "cli", "a", 1), 1).await?;
    let (cli, _) = open_with(&*store, &ada, session(&ada, "cli", "b", 2), 2).await?;
    let (console, ended) = open_with(&*store, &ada, session(&ada, "CLI", "c", 3), 3).await?;
    ensure!(ended.is_empty(), "another client ended {ended:?}");
    let (newest, ended) = open_with(&*store, &ada, session(&ada, "cli", "d", 4), 4).await?;
    ensure!(ended == [cli], "{ended:?}");
    for (id, active) in [(foreign, true), (cli, false), (console, true), (newest, true)] {
        ensure!(is_active(&*store, id).await? == active, "{id} is active: {}", !active);
    }
    let listed = store.sessions(ada.user_id).await?;
    let clients: Vec<&str> = listed.iter().map(|session| session.client.as_str()).collect();
    ensure!(clients == ["cli", "CLI", "cli"], "{clients:?}");
    Ok(())
}

pub async fn concurrent_sign_ins_of_a_client_leave_one_session(
    store: Arc<dyn Store>,
) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let mut sign_ins = tokio::task::JoinSet::new();
    for index in 0..8 {
        let (store, ada) = (store.clone(), ada.clone());
        sign_ins.spawn(async move {
            let session = new_session(&ada, &format!("token {index}"), 1, 10);
            let session = NewSession { client: "cli".to_owned(), ..session };
            open_with(&*store, &ada, session, 1).await
        });
    }
    let mut ended = Vec::new();
    for opened in sign_ins.join_all().await {
        ended.extend(opened?.1);
    }
    ensure!(ended.len() == 7, "{ended:?}");
    let sessions = store.sessions(ada.user_id).await?;
    let active: Vec<Uuid> =
        sessions.iter().filter(|it| it.ended_at.is_none()).map(|it| it.id).collect();
    ensure!(active.len() == 1 && !ended.contains(&active[0]), "{active:?}");
    Ok(())
}

pub async fn least_recently_used_sessions_end_above_limit(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let bob = register(&*store, "bob", 0).await?;
    let foreign = open(&*store, &bob, "foreign", 1).await?;
    let mut ids = Vec::new();
    for (index, token) in (1..).zip(["a", "b", "c"]) {
        ids.push(open(&*store, &ada, token, index).await?);
    }
    next(&*store, &Secret::new("a"), 5).await?;
    let (id, ended) = open_with(&*store, &ada, new_session(&ada, "d", 10, 2), 10).await?;
    ensure!(ended == ids[1..], "{ended:?} of {ids:?}");
    for (session, active) in
        [(ids[0], true), (ids[1], false), (ids[2], false), (id, true), (foreign, true)]
    {
        ensure!(is_active(&*store, session).await? == active, "{session} is active: {}", !active);
    }
    Ok(())
}

/// Although it is the oldest one by its time.
pub async fn new_session_stays_after_the_clock_was_set_back(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    let before = open(&*store, &ada, "before", 1000).await?;
    let (id, ended) = open_with(&*store, &ada, new_session(&ada, "after", 1, 1), 1).await?;
    ensure!(ended == [before], "{ended:?}");
    ensure!(is_active(&*store, id).await?, "the new session has ended");
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
