//! Limits the number of open streams, because each one needs memory until its client leaves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use miniapp_http::Problem;
use miniapp_types::problem::Code;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::config::StreamConfig;

/// When a rejected client should try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Counts the streams of a listener.
#[derive(Debug)]
pub(super) struct StreamSlots {
    limits: StreamConfig,
    open: parking_lot::Mutex<OpenStreams>,
}

#[derive(Debug, Default)]
struct OpenStreams {
    total: u32,
    by_account: HashMap<Uuid, AccountStreams>,
}

#[derive(Debug, Default)]
struct AccountStreams {
    count: u32,
    scan: Arc<Mutex<()>>,
}

/// Counts a stream until it is dropped.
#[derive(Debug)]
pub(crate) struct StreamSlot {
    slots: Arc<StreamSlots>,
    account: Uuid,
    scan: Arc<Mutex<()>>,
}

impl StreamSlot {
    /// Returns the lock that the streams of an account share.
    pub(super) fn scan_lock(&self) -> Arc<Mutex<()>> {
        self.scan.clone()
    }
}

impl StreamSlots {
    pub fn new(limits: StreamConfig) -> Self {
        Self { limits, open: parking_lot::Mutex::default() }
    }

    /// Takes a slot for a stream of `account`. Rejects it if there are too many.
    pub fn acquire(self: &Arc<Self>, account: Uuid) -> Result<StreamSlot, Problem> {
        let mut open = self.open.lock();
        let of_account = open.by_account.get(&account).map_or(0, |streams| streams.count);
        let code = if of_account >= self.limits.streams_per_account {
            Some(Code::TooManyRequests)
        } else if open.total >= self.limits.streams {
            Some(Code::Unavailable)
        } else {
            None
        };
        if let Some(code) = code {
            return Err(Problem::new(code).retry_after(RETRY_AFTER));
        }
        open.total += 1;
        let of_account = open.by_account.entry(account).or_default();
        of_account.count += 1;
        Ok(StreamSlot { slots: self.clone(), account, scan: of_account.scan.clone() })
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock();
        open.total -= 1;
        if let Some(of_account) = open.by_account.get_mut(&self.account) {
            of_account.count -= 1;
            if of_account.count == 0 {
                open.by_account.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn slots_are_limited_per_account_and_in_total() {
        let slots = Arc::new(StreamSlots::new(StreamConfig { streams: 3, streams_per_account: 2 }));
        let (ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let status = |account| {
            let problem = slots.acquire(account).expect_err("a limit");
            axum::response::IntoResponse::into_response(problem).status()
        };
        let first = slots.acquire(ada).expect("a slot");
        let second = slots.acquire(ada).expect("a slot");
        assert_eq!(status(ada), StatusCode::TOO_MANY_REQUESTS);
        let third = slots.acquire(bob).expect("a slot of another account");
        assert_eq!(status(bob), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        let _fourth = slots.acquire(bob).expect("a slot that is free again");
        drop((second, third));
        let open = slots.open.lock();
        assert_eq!((open.total, open.by_account.len()), (1, 1));
    }
}
