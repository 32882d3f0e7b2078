//! Whether the platform stays as fast with many tasks stored as with few.

use std::time::Duration;

use super::http::Target;
use super::load::{self, Times};
use super::{idle, reads, throughput};

/// Tasks stored when the first measurement is made.
pub const FEW: u64 = 1000;
const ROUNDS: u32 = 400;
const LISTS: u64 = 400;
const CLIENTS: usize = 32;

/// What is compared.
#[derive(Debug)]
pub struct Sample {
    /// One submission.
    pub submit: Duration,
    /// From the submission to the finished event: dispatch, claim and outcome.
    pub finish: Duration,
    /// One page of the newest tasks.
    pub list: Duration,
    /// The oldest tasks, by id.
    pub get: Duration,
}

/// Measures before and after `stored` tasks are there. They are put there by the API, as
/// everybody's are.
pub async fn run(target: &Target, stored: u64) -> anyhow::Result<(Sample, Sample)> {
    let first = throughput::run(target, None, CLIENTS, FEW).await?;
    let few = sample(target, first.ids()).await?;
    let missing = stored.saturating_sub(FEW);
    throughput::run(target, None, CLIENTS, missing).await?;
    load::settle().await;
    let many = sample(target, first.ids()).await?;
    Ok((few, many))
}

async fn sample(target: &Target, ids: &[uuid::Uuid]) -> anyhow::Result<Sample> {
    let idle = idle::run(target, ROUNDS).await?;
    let lists = reads::lists(target, 1, LISTS).await?;
    let gets = reads::gets(target, 1, LISTS, ids).await?;
    let middle = |times: &Times| times.p50();
    Ok(Sample {
        submit: middle(&idle.submit),
        finish: middle(&idle.whole),
        list: middle(&lists.times),
        get: middle(&gets.times),
    })
}

impl Sample {
    /// How much longer each takes than in `few`.
    pub fn compared(&self, few: &Self) -> [(&'static str, f64); 4] {
        let times = |many: Duration, few: Duration| many.as_secs_f64() / few.as_secs_f64();
        [
            ("submit", times(self.submit, few.submit)),
            ("finish", times(self.finish, few.finish)),
            ("list", times(self.list, few.list)),
            ("get", times(self.get, few.get)),
        ]
    }
}
