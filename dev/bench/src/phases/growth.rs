//! Whether the platform stays as fast with many stored tasks as with few.

use std::time::Duration;

use uuid::Uuid;

use super::{idle, reads};
use crate::load::Endpoint;

/// Stored tasks at the first measurement.
pub const BASELINE_TASKS: u64 = 1000;
const ROUNDS: u32 = 400;
const READS: u64 = 400;

/// Median latencies of the operations that are compared.
#[derive(Debug)]
pub struct Sample {
    submit: Duration,
    /// From submission to the finished event.
    finish: Duration,
    /// A page of the newest tasks.
    list: Duration,
    /// The oldest tasks by id.
    get: Duration,
}

/// A sample with few stored tasks, and their ids.
#[derive(Debug)]
pub struct Baseline {
    pub(super) sample: Sample,
    pub(super) ids: Vec<Uuid>,
}

impl Sample {
    /// Measures with the tasks that are stored now; `ids` are the oldest ones.
    pub async fn take(endpoint: &Endpoint, ids: &[Uuid]) -> anyhow::Result<Self> {
        let idle = idle::run(endpoint, ROUNDS).await?;
        let lists = reads::lists(endpoint, 1, READS).await?;
        let gets = reads::gets(endpoint, 1, READS, ids).await?;
        Ok(Self {
            submit: idle.submit.p50(),
            finish: idle.total.p50(),
            list: lists.latencies.p50(),
            get: gets.latencies.p50(),
        })
    }

    /// Returns how many times longer each operation takes than in `baseline`.
    pub fn compare(&self, baseline: &Self) -> [(&'static str, f64); 4] {
        let factor = |now: Duration, before: Duration| now.as_secs_f64() / before.as_secs_f64();
        [
            ("submit", factor(self.submit, baseline.submit)),
            ("finish", factor(self.finish, baseline.finish)),
            ("list", factor(self.list, baseline.list)),
            ("get", factor(self.get, baseline.get)),
        ]
    }
}
