//! Codes and verified addresses.

use std::sync::Arc;

use anyhow::{Result, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::audit::Action;
use miniapp_accounts::code::{Mac, Purpose};
use miniapp_accounts::outbox::OutboxKind;
use miniapp_accounts::store::{Issued, Sending};
use uuid::Uuid;

use super::{at, email, entry, issue, outbox_row, register};

const CODE: Mac = [9; 32];
const ADDRESS: &str = "ada@example.com";

async fn tried(store: &dyn Store, purpose: Purpose, seconds: u64) -> Result<Option<Mac>> {
    Ok(store.spend_try(&email(ADDRESS)?, purpose, at(seconds), 5).await?)
}

async fn issued(store: &dyn Store, purpose: Purpose, seconds: u64, code: Mac) -> Result<Issued> {
    Ok(store.issue_code(issue(ADDRESS, purpose, seconds, code)?).await?)
}

pub async fn code_attempts_are_limited(store: Arc<dyn Store>) -> Result<()> {
    ensure!(tried(&*store, Purpose::Verification, 0).await?.is_none(), "a code out of nothing");
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    for _ in 0..5 {
        ensure!(tried(&*store, Purpose::Verification, 1).await? == Some(CODE), "no try left");
    }
    ensure!(tried(&*store, Purpose::Verification, 1).await?.is_none(), "a sixth try");
    Ok(())
}

pub async fn new_code_replaces_previous_one(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    for _ in 0..5 {
        tried(&*store, Purpose::Verification, 1).await?;
    }
    issued(&*store, Purpose::Verification, 60, [8; 32]).await?;
    let kept = tried(&*store, Purpose::Verification, 61).await?;
    ensure!(kept == Some([8; 32]), "the new code has tries of its own: {kept:?}");
    let audit = entry(Action::VerifyEmail, 61);
    let verified = store.verify_email(&email(ADDRESS)?, &CODE, at(3600), audit).await?;
    ensure!(!verified, "the code before still verifies");
    Ok(())
}

pub async fn code_expires(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    ensure!(tried(&*store, Purpose::Verification, 599).await?.is_some(), "dead too early");
    ensure!(tried(&*store, Purpose::Verification, 600).await?.is_none(), "dead too late");
    Ok(())
}

pub async fn code_verifies_email_once(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    let address = email(ADDRESS)?;
    for expected in [true, false] {
        let audit = entry(Action::VerifyEmail, 1);
        let verified = store.verify_email(&address, &CODE, at(3600), audit).await?;
        ensure!(verified == expected, "verified: {verified}");
    }
    ensure!(tried(&*store, Purpose::Verification, 2).await?.is_none(), "a used code has a try");
    Ok(())
}

pub async fn code_purposes_are_independent(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    ensure!(tried(&*store, Purpose::Reset, 1).await?.is_none(), "a code for anything");
    let sent = issued(&*store, Purpose::Reset, 1, [8; 32]).await?;
    ensure!(sent == Issued::Sent, "one purpose cools the other down");
    ensure!(tried(&*store, Purpose::Verification, 2).await? == Some(CODE), "it was replaced");
    Ok(())
}

pub async fn code_requests_have_a_cooldown(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    let early = issued(&*store, Purpose::Verification, 59, [8; 32]).await?;
    ensure!(early == Issued::Cooling(at(0)), "{early:?} after 59 seconds");
    let kept = tried(&*store, Purpose::Verification, 60).await?;
    ensure!(kept == Some(CODE), "a refused request replaced the code");
    let other = issue("bob@example.com", Purpose::Verification, 59, [8; 32])?;
    ensure!(store.issue_code(other).await? == Issued::Sent, "addresses share their cooldown");
    let cooled = issued(&*store, Purpose::Verification, 60, [8; 32]).await?;
    ensure!(cooled == Issued::Sent, "{cooled:?} after 60 seconds");
    Ok(())
}

pub async fn code_requests_have_a_daily_limit(store: Arc<dyn Store>) -> Result<()> {
    for minute in 1..=3 {
        let sent = issued(&*store, Purpose::Verification, minute * 60, CODE).await?;
        ensure!(sent == Issued::Sent, "{sent:?} for number {minute}");
    }
    let more = issued(&*store, Purpose::Verification, 3600, CODE).await?;
    ensure!(more == Issued::Exhausted(at(60)), "{more:?} for a fourth one");
    let next_day = issued(&*store, Purpose::Verification, 60 + 86_400, CODE).await?;
    ensure!(next_day == Issued::Sent, "{next_day:?} a day later");
    Ok(())
}

pub async fn registered_email_gets_a_different_mail(store: Arc<dyn Store>) -> Result<()> {
    register(&*store, "ada", 0).await?;
    store.claim_outbox_messages(at(0), at(10_000), 10).await?;
    for (address, purpose) in
        [(ADDRESS, Purpose::Verification), ("bob@example.com", Purpose::Reset)]
    {
        let mut request = issue(address, purpose, 100, CODE)?;
        let silent = Sending { code: None, mail: Some(outbox_row(OutboxKind::Mail, 100)) };
        let (chosen, other) = if address == ADDRESS {
            (&mut request.known, &mut request.unknown)
        } else {
            (&mut request.unknown, &mut request.known)
        };
        *chosen = silent.clone();
        *other = Sending::default();
        ensure!(store.issue_code(request).await? == Issued::Sent, "not sent");
        let sent = store.claim_outbox_messages(at(100), at(10_000), 10).await?;
        let ids: Vec<Uuid> = sent.iter().map(|row| row.id).collect();
        ensure!(ids == silent.mail.map(|mail| mail.id).into_iter().collect::<Vec<_>>(), "{ids:?}");
        let kept = store.spend_try(&email(address)?, purpose, at(101), 5).await?;
        ensure!(kept.is_none(), "a code that wasn't sent can be tried");
    }
    let again = issued(&*store, Purpose::Verification, 101, CODE).await?;
    ensure!(again == Issued::Cooling(at(100)), "a known address doesn't cool down: {again:?}");
    Ok(())
}

pub async fn concurrent_verifications_use_code_once(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, address) = (store.clone(), email(ADDRESS)?);
        tries.spawn(async move {
            let audit = entry(Action::VerifyEmail, 1);
            store.verify_email(&address, &CODE, at(3600), audit).await
        });
    }
    let mut verified = 0;
    for outcome in tries.join_all().await {
        verified += u32::from(outcome?);
    }
    ensure!(verified == 1, "{verified} used the same code");
    Ok(())
}
