//! Codes and verified addresses.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use miniapp_accounts::Store;
use miniapp_accounts::code::{Mac, Purpose};
use miniapp_accounts::operations::{CheckCode, CodeCheck, CodeDelivery, IssueOutcome};
use miniapp_accounts::outbox::OutboxKind;
use uuid::Uuid;

use super::{at, claim_messages, email, issue, outbox_row, register, verification};

const CODE: Mac = [9; 32];
const WRONG: Mac = [0; 32];
const ADDRESS: &str = "ada@example.com";

/// Checks a code for [`ADDRESS`], with a limit of five attempts and of seven wrong codes a day.
async fn check(store: &dyn Store, purpose: Purpose, mac: Mac, seconds: u64) -> Result<CodeCheck> {
    check_macs(store, purpose, vec![mac], seconds).await
}

async fn check_macs(
    store: &dyn Store,
    purpose: Purpose,
    macs: Vec<Mac>,
    seconds: u64,
) -> Result<CodeCheck> {
    let check = CheckCode {
        email: email(ADDRESS)?,
        purpose,
        macs,
        now: at(seconds),
        max_attempts: 5,
        failures: [1; 32],
        window_start: at(seconds) - Duration::from_hours(24),
        limit: 7,
    };
    Ok(store.transact(&check).await?)
}

/// Whether [`CODE`] is valid.
async fn is_valid(store: &dyn Store, purpose: Purpose, seconds: u64) -> Result<bool> {
    Ok(check(store, purpose, CODE, seconds).await? == CodeCheck::Valid(CODE))
}

async fn issued(
    store: &dyn Store,
    purpose: Purpose,
    seconds: u64,
    code: Mac,
) -> Result<IssueOutcome> {
    Ok(store.transact(&issue(ADDRESS, purpose, seconds, code)?).await?)
}

pub async fn code_attempts_are_limited(store: Arc<dyn Store>) -> Result<()> {
    ensure!(!is_valid(&*store, Purpose::Verification, 0).await?, "a code that does not exist");
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    for _ in 0..4 {
        let wrong = check(&*store, Purpose::Verification, WRONG, 1).await?;
        ensure!(wrong == CodeCheck::Wrong, "{wrong:?}");
    }
    ensure!(is_valid(&*store, Purpose::Verification, 1).await?, "no attempt left");
    ensure!(!is_valid(&*store, Purpose::Verification, 1).await?, "a sixth attempt");
    Ok(())
}

pub async fn wrong_codes_are_limited_over_all_codes(store: Arc<dyn Store>) -> Result<()> {
    // Wrong codes count for an address without a code, and for every purpose.
    for (seconds, purpose) in (0..).zip([Purpose::Verification, Purpose::Reset]) {
        let wrong = check(&*store, purpose, WRONG, seconds).await?;
        ensure!(wrong == CodeCheck::Wrong, "{wrong:?}");
    }
    issued(&*store, Purpose::Verification, 60, CODE).await?;
    ensure!(is_valid(&*store, Purpose::Verification, 60).await?, "the limit is not reached");
    for (seconds, code) in [(60, [8; 32]), (120, CODE)] {
        if seconds > 60 {
            issued(&*store, Purpose::Verification, seconds, code).await?;
        }
        for _ in 0..4 {
            check(&*store, Purpose::Verification, WRONG, seconds).await?;
        }
    }
    // The right code, too: otherwise the limit would be none.
    let limited = check(&*store, Purpose::Verification, CODE, 121).await?;
    ensure!(limited == CodeCheck::LimitReached(at(0)), "{limited:?}");
    let reset = check(&*store, Purpose::Reset, CODE, 121).await?;
    ensure!(reset == CodeCheck::LimitReached(at(0)), "{reset:?}");
    issued(&*store, Purpose::Verification, 86_400, CODE).await?;
    ensure!(is_valid(&*store, Purpose::Verification, 86_400).await?, "after a day");
    Ok(())
}

pub async fn concurrent_wrong_codes_do_not_exceed_the_limit(store: Arc<dyn Store>) -> Result<()> {
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        attempts.spawn(async move { check(&*store, Purpose::Reset, WRONG, 1).await });
    }
    let mut wrong = 0;
    for outcome in attempts.join_all().await {
        wrong += u32::from(outcome? == CodeCheck::Wrong);
    }
    ensure!(wrong == 7, "{wrong} wrong codes were accepted");
    Ok(())
}

pub async fn new_code_replaces_previous_one(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    for _ in 0..5 {
        check(&*store, Purpose::Verification, CODE, 1).await?;
    }
    issued(&*store, Purpose::Verification, 60, [8; 32]).await?;
    let new = check(&*store, Purpose::Verification, [8; 32], 61).await?;
    ensure!(new == CodeCheck::Valid([8; 32]), "attempts are counted per code: {new:?}");
    let verified = store.transact(&verification(ADDRESS, CODE, 61)?).await?;
    ensure!(!verified, "the previous code is still valid");
    Ok(())
}

pub async fn code_may_match_either_of_two_macs(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    for macs in [vec![CODE, WRONG], vec![WRONG, CODE]] {
        let checked = check_macs(&*store, Purpose::Verification, macs, 1).await?;
        ensure!(checked == CodeCheck::Valid(CODE), "{checked:?}");
    }
    let wrong = check_macs(&*store, Purpose::Verification, vec![WRONG, [8; 32]], 1).await?;
    ensure!(wrong == CodeCheck::Wrong, "{wrong:?}");
    Ok(())
}

pub async fn code_expires(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    ensure!(is_valid(&*store, Purpose::Verification, 599).await?, "expired too early");
    ensure!(!is_valid(&*store, Purpose::Verification, 600).await?, "expired too late");
    Ok(())
}

pub async fn code_verifies_email_once(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    for expected in [true, false] {
        let verified = store.transact(&verification(ADDRESS, CODE, 1)?).await?;
        ensure!(verified == expected, "verified: {verified}");
    }
    ensure!(!is_valid(&*store, Purpose::Verification, 2).await?, "a used code has an attempt left");
    Ok(())
}

pub async fn code_purposes_are_independent(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    ensure!(!is_valid(&*store, Purpose::Reset, 1).await?, "a code for another purpose");
    let sent = issued(&*store, Purpose::Reset, 1, [8; 32]).await?;
    ensure!(sent == IssueOutcome::Sent, "purposes share their cooldown");
    ensure!(is_valid(&*store, Purpose::Verification, 2).await?, "it was replaced");
    Ok(())
}

/// The clock was set back after they were made.
pub async fn code_requests_of_the_future_do_not_count(store: Arc<dyn Store>) -> Result<()> {
    const YEAR: u64 = 365 * 24 * 3600;
    for minute in 0..10 {
        issued(&*store, Purpose::Verification, YEAR + 60 * minute, CODE).await?;
    }
    let sent = issued(&*store, Purpose::Verification, 10, CODE).await?;
    ensure!(sent == IssueOutcome::Sent, "{sent:?} a year earlier");
    let early = issued(&*store, Purpose::Verification, 69, CODE).await?;
    ensure!(early == IssueOutcome::CoolingDown(at(10)), "{early:?} after 59 seconds");
    Ok(())
}

pub async fn code_requests_have_a_cooldown(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    let early = issued(&*store, Purpose::Verification, 59, [8; 32]).await?;
    ensure!(early == IssueOutcome::CoolingDown(at(0)), "{early:?} after 59 seconds");
    let kept = is_valid(&*store, Purpose::Verification, 60).await?;
    ensure!(kept, "a rejected request replaced the code");
    let other = issue("bob@example.com", Purpose::Verification, 59, [8; 32])?;
    ensure!(store.transact(&other).await? == IssueOutcome::Sent, "addresses share their cooldown");
    let cooled = issued(&*store, Purpose::Verification, 60, [8; 32]).await?;
    ensure!(cooled == IssueOutcome::Sent, "{cooled:?} after 60 seconds");
    Ok(())
}

pub async fn code_requests_have_a_daily_limit(store: Arc<dyn Store>) -> Result<()> {
    for minute in 1..=3 {
        let sent = issued(&*store, Purpose::Verification, minute * 60, CODE).await?;
        ensure!(sent == IssueOutcome::Sent, "{sent:?} for code {minute}");
    }
    let more = issued(&*store, Purpose::Verification, 3600, CODE).await?;
    ensure!(more == IssueOutcome::LimitReached(at(60)), "{more:?} for a fourth code");
    let next_day = issued(&*store, Purpose::Verification, 60 + 86_400, CODE).await?;
    ensure!(next_day == IssueOutcome::Sent, "{next_day:?} a day later");
    Ok(())
}

pub async fn registered_email_gets_a_different_mail(store: Arc<dyn Store>) -> Result<()> {
    let ada = register(&*store, "ada", 0).await?;
    claim_messages(&*store, at(0), at(10_000), 10).await?;
    for (address, purpose) in
        [(ADDRESS, Purpose::Verification), ("bob@example.com", Purpose::Reset)]
    {
        let mut request = issue(address, purpose, 100, CODE)?;
        request.owner = (address == ADDRESS).then_some(ada.user_id);
        let without_code =
            CodeDelivery { code: None, mail: Some(outbox_row(OutboxKind::Mail, 100)) };
        let (chosen, other) = if address == ADDRESS {
            (&mut request.registered, &mut request.unregistered)
        } else {
            (&mut request.unregistered, &mut request.registered)
        };
        *chosen = without_code.clone();
        *other = CodeDelivery::default();
        ensure!(store.transact(&request).await? == IssueOutcome::Sent, "not sent");
        let sent = claim_messages(&*store, at(100), at(10_000), 10).await?;
        let ids: Vec<Uuid> = sent.iter().map(|row| row.id).collect();
        ensure!(
            ids == without_code.mail.map(|mail| mail.id).into_iter().collect::<Vec<_>>(),
            "{ids:?}"
        );
        if address == ADDRESS {
            ensure!(!is_valid(&*store, purpose, 101).await?, "a code that was not sent");
        }
    }
    let again = issued(&*store, Purpose::Verification, 101, CODE).await?;
    ensure!(
        again == IssueOutcome::CoolingDown(at(100)),
        "no cooldown for a registered address: {again:?}"
    );
    Ok(())
}

pub async fn concurrent_verifications_use_code_once(store: Arc<dyn Store>) -> Result<()> {
    issued(&*store, Purpose::Verification, 0, CODE).await?;
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, verify) = (store.clone(), verification(ADDRESS, CODE, 1)?);
        attempts.spawn(async move { store.transact(&verify).await });
    }
    let mut verified = 0;
    for outcome in attempts.join_all().await {
        verified += u32::from(outcome?);
    }
    ensure!(verified == 1, "{verified} verifications used the same code");
    Ok(())
}
