//! The outbox and the inbox.

use std::sync::Arc;

use anyhow::{Result, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::code::Purpose;
use miniapp_accounts::mail::{InboxMail, Mail};
use miniapp_accounts::operations::IssueOutcome;
use miniapp_accounts::outbox::{OutboxBacklog, OutboxKind, OutboxRow, SealedPayload};
use miniapp_runtime::clock;
use miniapp_types::trace::TraceContext;
use uuid::Uuid;

use super::{at, claim_messages, issue, outbox_row};

/// Stores a message with an operation.
async fn add(store: &dyn Store, message: OutboxRow, name: &str) -> Result<()> {
    let mut request = issue(&format!("{name}@example.com"), Purpose::Verification, 0, [0; 32])?;
    request.unregistered.mail = Some(message);
    ensure!(store.transact(&request).await? == IssueOutcome::Sent, "not sent");
    Ok(())
}

async fn claim(store: &dyn Store, seconds: u64, limit: u32) -> Result<Vec<OutboxRow>> {
    claim_messages(store, at(seconds), at(seconds + 60), limit).await
}

pub async fn outbox_message_is_claimed_once(store: Arc<dyn Store>) -> Result<()> {
    for index in 0..10 {
        add(&*store, outbox_row(OutboxKind::Mail, index), &format!("a{index}")).await?;
    }
    let early = claim(&*store, 4, 3).await?;
    ensure!(early.len() == 3, "{} of at most 3", early.len());
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        claims.spawn(async move { claim(&*store, 4, 10).await });
    }
    let mut ids: Vec<Uuid> = early.iter().map(|row| row.id).collect();
    for claimed in claims.join_all().await {
        ids.extend(claimed?.iter().map(|row| row.id));
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    ensure!((count, ids.len()) == (5, 5), "{count} claims of {} messages; 5 are due", ids.len());
    for id in ids {
        store.finish_outbox_message(id, None).await?;
    }
    ensure!(claim(&*store, 1000, 10).await?.len() == 5, "finished messages are due again");
    Ok(())
}

pub async fn outbox_claim_expires(store: Arc<dyn Store>) -> Result<()> {
    add(&*store, outbox_row(OutboxKind::Mail, 0), "ada").await?;
    for (seconds, attempts) in [(0, Some(0)), (59, None), (60, Some(1)), (120, Some(2))] {
        let claimed = claim(&*store, seconds, 10).await?;
        let found = claimed.first().map(|row| row.attempts);
        ensure!(found == attempts, "{found:?} attempts after {seconds} seconds");
    }
    Ok(())
}

pub async fn outbox_message_can_be_postponed(store: Arc<dyn Store>) -> Result<()> {
    add(&*store, outbox_row(OutboxKind::Mail, 0), "ada").await?;
    let claimed = claim(&*store, 0, 10).await?;
    store.postpone_outbox_message(claimed[0].id, at(5)).await?;
    ensure!(claim(&*store, 4, 10).await?.is_empty(), "too early");
    ensure!(claim(&*store, 5, 10).await?.len() == 1, "too late");
    Ok(())
}

pub async fn outbox_messages_can_be_advanced(store: Arc<dyn Store>) -> Result<()> {
    for (name, due) in [("ada", 0), ("ben", 0), ("cleo", 0)] {
        add(&*store, outbox_row(OutboxKind::Mail, due), name).await?;
    }
    let claimed = claim(&*store, 0, 10).await?;
    let times = [100, 5000, 6000];
    for (message, due) in claimed.iter().zip(times) {
        store.postpone_outbox_message(message.id, at(due)).await?;
    }
    ensure!(store.advance_outbox_messages(at(300), at(10)).await? == 2);
    ensure!(claim(&*store, 9, 10).await?.is_empty(), "due before the new time");
    ensure!(claim(&*store, 10, 10).await?.len() == 2);
    ensure!(claim(&*store, 100, 10).await?.len() == 3, "with the claims that expired");
    Ok(())
}

pub async fn outbox_backlog_counts_pending_messages(store: Arc<dyn Store>) -> Result<()> {
    ensure!(store.outbox_backlog().await?.is_empty(), "a backlog in an empty store");
    for (kind, seconds, name) in [
        (OutboxKind::Mail, 9, "ada"),
        (OutboxKind::Mail, 7, "bob"),
        (OutboxKind::AccountDeleted, 8, "cyd"),
        (OutboxKind::AccountDeleted, 1, "dan"),
    ] {
        let id = clock::id_at(at(seconds));
        add(&*store, OutboxRow { id, ..outbox_row(kind, seconds) }, name).await?;
    }
    // A claim doesn't change the age of a message; finished messages don't count.
    let claimed = claim(&*store, 1, 1).await?;
    store.finish_outbox_message(claimed[0].id, Some(at(900))).await?;
    claim(&*store, 7, 1).await?;
    let mut backlog = store.outbox_backlog().await?;
    backlog.sort_by_key(|backlog| backlog.since);
    let expected = [
        OutboxBacklog { kind: OutboxKind::Mail, count: 2, since: at(7) },
        OutboxBacklog { kind: OutboxKind::AccountDeleted, count: 1, since: at(8) },
    ];
    ensure!(backlog == expected, "{backlog:?}");
    Ok(())
}

pub async fn retained_outbox_messages_can_be_reopened(store: Arc<dyn Store>) -> Result<()> {
    add(&*store, outbox_row(OutboxKind::AccountDeleted, 0), "ada").await?;
    add(&*store, outbox_row(OutboxKind::Mail, 0), "bob").await?;
    add(&*store, outbox_row(OutboxKind::AccountDeleted, 0), "cyd").await?;
    let claimed = claim(&*store, 0, 10).await?;
    ensure!(claimed.len() == 3, "{claimed:?}");
    let deletions: Vec<_> =
        claimed.iter().filter(|row| row.kind == OutboxKind::AccountDeleted).collect();
    store.finish_outbox_message(deletions[0].id, Some(at(5000))).await?;
    ensure!(claim(&*store, 10, 10).await?.is_empty(), "a retained message is due");
    let count = store.reopen_outbox_messages(OutboxKind::AccountDeleted, at(10)).await?;
    ensure!(count == 1, "{count} were retained");
    let again = claim(&*store, 10, 10).await?;
    ensure!(again.len() == 1 && again[0].id == deletions[0].id, "{again:?}");
    ensure!(again[0].attempts == 0, "{again:?}");
    Ok(())
}

pub async fn outbox_message_round_trips(store: Arc<dyn Store>) -> Result<()> {
    let mut message = outbox_row(OutboxKind::Mail, 3);
    message.payload = (0..=255).collect();
    message.not_after = Some(at(600));
    message.trace = TraceContext {
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        tracestate: Some("vendor=1".into()),
        baggage: Some("k=v".into()),
    };
    add(&*store, message.clone(), "ada").await?;
    let claimed = claim(&*store, 3, 10).await?;
    message.due_at = at(63);
    ensure!(claimed == [message], "{claimed:?}");
    Ok(())
}

pub async fn inbox_mail_is_stored_once(store: Arc<dyn Store>) -> Result<()> {
    let mails: Vec<InboxMail> = (0..3)
        .map(|index| InboxMail {
            at: at(index),
            mail: Mail {
                id: clock::id_at(at(index)),
                to: "ada@example.com".to_owned(),
                subject: format!("mail {index}"),
                text: "text\n".to_owned(),
                html: "<p>\u{e9}</p>".to_owned(),
            },
        })
        .collect();
    for mail in &mails {
        ensure!(store.add_inbox_mail(mail).await?, "not stored");
        ensure!(!store.add_inbox_mail(mail).await?, "stored twice");
    }
    let kept = store.inbox_mails(2).await?;
    ensure!(kept == [mails[2].clone(), mails[1].clone()], "{kept:?}");
    Ok(())
}

pub async fn outbox_messages_are_resealed_once(store: Arc<dyn Store>) -> Result<()> {
    for index in 0..5 {
        let name = format!("user{index}");
        add(&*store, outbox_row(OutboxKind::AccountDeleted, index), &name).await?;
    }
    // Messages that are claimed or retained, too.
    let claimed = claim(&*store, 60, 2).await?;
    store.finish_outbox_message(claimed[0].id, Some(at(1000))).await?;
    let first = store.outbox_payloads(Uuid::nil(), 3).await?;
    let rest = store.outbox_payloads(first[2].id, 3).await?;
    let all: Vec<&SealedPayload> = first.iter().chain(&rest).collect();
    ensure!(all.len() == 5 && all.is_sorted_by_key(|message| message.id), "{all:?}");

    for message in all {
        let mut attempts = tokio::task::JoinSet::new();
        for index in 0..4 {
            let (store, message) = (store.clone(), message.clone());
            attempts.spawn(async move { store.reseal_outbox_message(&message, &[index]).await });
        }
        let mut resealed = 0;
        for outcome in attempts.join_all().await {
            resealed += u32::from(outcome?);
        }
        ensure!(resealed == 1, "sealed {resealed} times");
    }
    let resealed = store.outbox_payloads(Uuid::nil(), 10).await?;
    ensure!(resealed.iter().all(|message| message.payload.len() == 1), "{resealed:?}");
    let due = claim(&*store, 200, 10).await?;
    ensure!(due.len() == 4, "the other columns have changed: {due:?}");
    Ok(())
}
