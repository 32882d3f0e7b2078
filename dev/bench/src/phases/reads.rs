//! Reads of single tasks and of lists.

use std::sync::Arc;

use anyhow::ensure;
use uuid::Uuid;

use crate::load::{self, Endpoint, Load};

/// Visits tasks out of order; prime, so that it visits all of them.
const STRIDE: u64 = 7919;

/// Reads single tasks out of `ids`.
pub async fn gets(
    endpoint: &Endpoint,
    clients: u16,
    requests: u64,
    ids: &[Uuid],
) -> anyhow::Result<Load> {
    ensure!(!ids.is_empty(), "there are no tasks to read");
    let (requester, ids) = (endpoint.clone(), Arc::<[Uuid]>::from(ids));
    let request = move |number: u64| {
        let index = number.wrapping_mul(STRIDE) % ids.len() as u64;
        #[expect(clippy::cast_possible_truncation, reason = "below the length of a slice")]
        let id = ids[index as usize];
        requester.get(&format!("/api/tasks/{id}"))
    };
    load::run(endpoint, clients, requests, request, |_| None).await
}

/// Reads the first page of tasks.
pub async fn lists(endpoint: &Endpoint, clients: u16, requests: u64) -> anyhow::Result<Load> {
    let requester = endpoint.clone();
    let request = move |_| requester.get("/api/tasks?limit=50");
    load::run(endpoint, clients, requests, request, |_| None).await
}
