//! Reading tasks, one and many.

use std::sync::Arc;

use uuid::Uuid;

use super::http::Target;
use super::load::{self, Loaded};

/// A stride that visits tasks in no order; prime, so that it visits all of them.
const STRIDE: u64 = 7919;

/// Reads single tasks out of `ids`.
pub async fn gets(
    target: &Target,
    clients: u16,
    requests: u64,
    ids: &[Uuid],
) -> anyhow::Result<Loaded> {
    anyhow::ensure!(!ids.is_empty(), "there are no tasks to read");
    let (requester, ids) = (target.clone(), Arc::<[Uuid]>::from(ids));
    let request = move |number: u64| {
        let index = number.wrapping_mul(STRIDE) % ids.len() as u64;
        #[expect(clippy::cast_possible_truncation, reason = "below the length of a slice")]
        let id = ids[index as usize];
        requester.get(&format!("/api/tasks/{id}"))
    };
    load::run(target, clients, requests, request, |_| None).await
}

/// Reads pages of tasks.
pub async fn lists(target: &Target, clients: u16, requests: u64) -> anyhow::Result<Loaded> {
    let requester = target.clone();
    let request = move |_| requester.get("/api/tasks?limit=50");
    load::run(target, clients, requests, request, |_| None).await
}
