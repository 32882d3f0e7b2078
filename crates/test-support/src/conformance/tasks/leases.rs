use std::collections::HashSet;

use anyhow::{Result, ensure};
use miniapp_tasks::domain::Task;
use miniapp_tasks::engine::ExpiredLease;
use miniapp_tasks::{Claim, Command, Engine, RenewedLease};
use uuid::Uuid;

use super::{
    Processes, add, add_claimed, apply, at, change, claim, expire, finish, held, is_stored, stored,
};

pub async fn renewal_increments_the_version([engine, _]: Processes) -> Result<()> {
    let before = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    let renewed = engine.renew(&[held(&before)], at(30)).await?;
    ensure!(renewed == [RenewedLease { claim: held(&before), cancel_requested: false }]);
    let mut after = before.clone();
    after.state.lease_until = Some(at(30));
    after.state.version += 1;
    is_stored(&*engine, &after).await?;

    // Changes made from the earlier version are refused.
    let late = change(&before, finish(&before)?, 1)?;
    ensure!(engine.write(&[], &[late]).await?.changes == [false], "written over a renewal");
    apply(&*engine, &after, finish(&after)?, 2).await.map(drop)
}

pub async fn lost_claim_is_not_renewed([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let ended = add_claimed(&*engine, owner, 0).await?;
    let ended = apply(&*engine, &ended, finish(&ended)?, 1).await?;
    let removed = add_claimed(&*engine, owner, 0).await?;
    let removed = apply(&*engine, &removed, Command::Delete, 1).await?;
    let waiting = add_claimed(&*engine, owner, 0).await?;
    let waiting = apply(&*engine, &waiting, expire(&waiting), 20).await?;
    let again = add_claimed(&*engine, owner, 0).await?;
    let again = apply(&*engine, &again, expire(&again), 20).await?;
    let again = apply(&*engine, &again, claim(&again), 21).await?;
    let overtaken = Claim { task_id: again.id, token: again.state.claim - 1 };
    let nowhere = Claim { task_id: Uuid::new_v4(), token: 1 };

    let lost = [held(&ended), held(&removed), held(&waiting), overtaken, nowhere];
    ensure!(engine.renew(&lost, at(60)).await?.is_empty(), "a lost claim was renewed");
    for task in [&ended, &removed, &waiting, &again] {
        is_stored(&*engine, task).await?;
    }
    let both = engine.renew(&[overtaken, held(&again), nowhere], at(60)).await?;
    ensure!(both == [RenewedLease { claim: held(&again), cancel_requested: false }]);
    Ok(())
}

pub async fn renewal_returns_cancel_requests([engine, other]: Processes) -> Result<()> {
    let task = add_claimed(&*engine, Uuid::new_v4(), 0).await?;
    apply(&*other, &task, Command::Cancel, 1).await?;
    for seconds in [30, 35] {
        let renewed = engine.renew(&[held(&task)], at(seconds)).await?;
        ensure!(renewed == [RenewedLease { claim: held(&task), cancel_requested: true }]);
    }
    Ok(())
}

pub async fn many_leases_are_renewed_in_one_call([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let tasks = (0..400).map(|_| super::new_task(owner, 0)).collect::<Result<Vec<Task>>>()?;
    super::store_all(&*engine, &tasks).await?;
    let claims =
        tasks.iter().map(|task| change(task, claim(task), 1)).collect::<Result<Vec<_>>>()?;
    engine.write(&[], &claims).await?;
    let claims: Vec<Claim> = claims.iter().map(|change| held(&change.task)).collect();
    let renewed: HashSet<Claim> =
        engine.renew(&claims, at(60)).await?.into_iter().map(|renewed| renewed.claim).collect();
    ensure!(renewed == claims.iter().copied().collect());
    ensure!(expired(&*engine, 59, 1000).await?.is_empty());
    ensure!(expired(&*engine, 60, 1000).await?.len() == claims.len());
    Ok(())
}

/// Returns the tasks whose lease has expired.
async fn expired(engine: &dyn Engine, seconds: u64, limit: u32) -> Result<Vec<Uuid>> {
    let leases = engine.expired_leases(at(seconds), at(1_000_000), limit).await?;
    Ok(leases.into_iter().map(|lease| lease.task_id).collect())
}

pub async fn expired_leases_are_returned_oldest_first([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    add(&*engine, owner, 0).await?;
    super::add_finished(&*engine, owner, 0).await?;
    let early = add_claimed(&*engine, owner, 0).await?;
    let late = add_claimed(&*engine, owner, 10).await?;
    ensure!(expired(&*engine, 14, 10).await?.is_empty(), "before its time");
    ensure!(expired(&*engine, 16, 10).await? == [early.id]);
    ensure!(expired(&*engine, 26, 10).await?.len() == 2);
    ensure!(expired(&*engine, 26, 1).await? == [early.id], "the oldest comes first");

    let early = apply(&*engine, &early, expire(&early), 16).await?;
    ensure!(expired(&*engine, 26, 10).await? == [late.id]);
    engine.renew(&[held(&late)], at(40)).await?;
    ensure!(expired(&*engine, 26, 10).await?.is_empty());
    // The lease of the same task expires again.
    let early = apply(&*engine, &early, claim(&early), 20).await?;
    ensure!(expired(&*engine, 36, 10).await? == [early.id]);
    let late = stored(&*engine, late.id).await?;
    apply(&*engine, &late, finish(&late)?, 30).await?;
    ensure!(expired(&*engine, 100, 10).await? == [early.id]);
    Ok(())
}

/// The clock was set back since they were granted.
pub async fn leases_far_ahead_are_returned([engine, _]: Processes) -> Result<()> {
    let owner = Uuid::new_v4();
    let ahead = add_claimed(&*engine, owner, 1000).await?;
    let near = add_claimed(&*engine, owner, 10).await?;
    let leases = engine.expired_leases(at(12), at(42), 10).await?;
    let until = ahead.state.lease_until.expect("a lease");
    let version = ahead.state.version;
    ensure!(leases == [ExpiredLease { task_id: ahead.id, version, until }], "{leases:?}");
    engine.renew(&[held(&ahead)], at(27)).await?;
    ensure!(engine.expired_leases(at(12), at(42), 10).await?.is_empty());
    // With the version after the renewal.
    let leases = engine.expired_leases(at(30), at(42), 10).await?;
    let ids: Vec<Uuid> = leases.iter().map(|lease| lease.task_id).collect();
    ensure!(ids == [near.id, ahead.id] && leases[1].version == version + 1, "{leases:?}");
    Ok(())
}
