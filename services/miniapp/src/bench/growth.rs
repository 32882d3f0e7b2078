//! Whether the platform stays as fast with many tasks stored as with few.

use std::time::Duration;

use uuid::Uuid;

use super::http::Target;
use super::{idle, reads};

/// Tasks stored when the first measurement is made.
pub const FEW: u64 = 1000;
const ROUNDS: u32 = 400;
const LISTS: u64 = 400;

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

/// What was measured while few tasks were stored, and some of those.
#[derive(Debug)]
pub struct Few {
    pub(super) sample: Sample,
    pub(super) ids: Vec<Uuid>,
}

impl Sample {
    /// Measures with what is stored now; `ids` are the oldest tasks.
    pub async fn take(target: &Target, ids: &[Uuid]) -> anyhow::Result<Self> {
        let idle = idle::run(target, ROUNDS).await?;
        let lists = reads::lists(target, 1, LISTS).await?;
        let gets = reads::gets(target, 1, LISTS, ids).await?;
        Ok(Self {
            submit: idle.submit.p50(),
            finish: idle.whole.p50(),
            list: lists.times.p50(),
            get: gets.times.p50(),
        })
    }

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
