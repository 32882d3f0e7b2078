//! The limit of open connections of a listener.
//!
//! Idle connections cost their clients nothing, so a few clients could occupy every slot.
//! If none is free, the connection that has been idle the longest is evicted for the new
//! one. A connection with a request in progress is never evicted. So that one client cannot
//! occupy all slots with such connections, each network has a limit of its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub(crate) struct ConnectionSlots {
    capacity: usize,
    /// The slots of one network.
    capacity_per_network: usize,
    created: Instant,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next_id: u64,
    slots: HashMap<u64, Arc<SlotState>>,
    /// The number of slots of each limited network.
    by_network: HashMap<IpAddr, usize>,
}

struct SlotState {
    /// The limited network of the client.
    network: Option<IpAddr>,
    /// The number of requests in progress, or [`EVICTED`].
    requests: AtomicU32,
    /// When the last request ended, in microseconds since the creation of the slots.
    idle_since: AtomicU64,
    evicted: CancellationToken,
}

/// The slot belongs to another connection; no request may begin.
const EVICTED: u32 = u32::MAX;

impl Taken {
    /// Evicts the connection that has been idle the longest, of `network` if one is given.
    /// Returns `false` if all are busy.
    fn evict_idle(&mut self, network: Option<IpAddr>) -> bool {
        loop {
            let candidates = self.slots.iter().filter(|(_, state)| {
                state.is_idle() && (network.is_none() || state.network == network)
            });
            let idle_since = |state: &SlotState| state.idle_since.load(Ordering::Acquire);
            let longest = candidates.min_by_key(|(_, state)| idle_since(state));
            let Some((&id, state)) = longest else { return false };
            if state.evict() {
                self.remove(id);
                return true;
            }
        }
    }

    fn count(&self, network: IpAddr) -> usize {
        self.by_network.get(&network).copied().unwrap_or_default()
    }

    fn remove(&mut self, id: u64) {
        let Some(network) = self.slots.remove(&id).and_then(|state| state.network) else { return };
        if let Some(count) = self.by_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&network);
            }
        }
    }
}

impl SlotState {
    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Acquire) == 0
    }

    /// Evicts the connection unless a request has begun in the meantime.
    fn evict(&self) -> bool {
        let evicted =
            self.requests.compare_exchange(0, EVICTED, Ordering::AcqRel, Ordering::Acquire);
        if evicted.is_ok() {
            self.evicted.cancel();
        }
        evicted.is_ok()
    }
}

impl ConnectionSlots {
    /// `capacity_per_network` is the limit of each network; 0 is none.
    pub(crate) fn new(capacity: usize, capacity_per_network: usize) -> Arc<Self> {
        let capacity_per_network =
            if capacity_per_network == 0 { capacity } else { capacity_per_network };
        let created = Instant::now();
        Arc::new(Self { capacity, capacity_per_network, created, taken: Mutex::default() })
    }

    /// Returns a slot for a client in `network`, evicting an idle connection if necessary;
    /// `None` if all are busy. `None` as the network has no limit of its own.
    pub(crate) fn acquire(self: &Arc<Self>, network: Option<IpAddr>) -> Option<Slot> {
        let mut taken = self.taken.lock();
        if let Some(network) = network
            && taken.count(network) >= self.capacity_per_network
            && !taken.evict_idle(Some(network))
        {
            return None;
        }
        if taken.slots.len() >= self.capacity && !taken.evict_idle(None) {
            return None;
        }
        let id = taken.next_id;
        taken.next_id += 1;
        let state = Arc::new(SlotState {
            network,
            requests: AtomicU32::new(0),
            idle_since: AtomicU64::new(self.now()),
            evicted: CancellationToken::new(),
        });
        taken.slots.insert(id, state.clone());
        if let Some(network) = network {
            *taken.by_network.entry(network).or_default() += 1;
        }
        Some(Slot { slots: self.clone(), id, state })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The slot of one connection.
pub(crate) struct Slot {
    slots: Arc<ConnectionSlots>,
    id: u64,
    state: Arc<SlotState>,
}

impl Slot {
    /// Waits until the connection is evicted.
    pub(crate) async fn evicted(&self) {
        self.state.evicted.cancelled().await;
    }

    /// Marks the connection as busy until the guard is dropped; `None` if it is evicted.
    pub(crate) fn begin_request(&self) -> Option<BusyGuard> {
        let increment = |count: u32| (count != EVICTED).then(|| count + 1);
        let begun =
            self.state.requests.fetch_update(Ordering::AcqRel, Ordering::Acquire, increment);
        let (slots, state) = (self.slots.clone(), self.state.clone());
        begun.is_ok().then(|| BusyGuard { slots, state })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken.lock().remove(self.id);
    }
}

/// Keeps a connection from being evicted.
pub(crate) struct BusyGuard {
    slots: Arc<ConnectionSlots>,
    state: Arc<SlotState>,
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.state.idle_since.store(self.slots.now(), Ordering::Release);
        self.state.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A response body that keeps its connection busy until it has been sent.
pub(crate) struct TrackedBody<B> {
    body: B,
    _busy: BusyGuard,
}

impl<B> TrackedBody<B> {
    pub(crate) fn new(body: B, busy: BusyGuard) -> Self {
        Self { body, _busy: busy }
    }
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn is_evicted(slot: &Slot) -> bool {
        slot.begin_request().is_none()
    }

    #[test]
    fn longest_idle_connection_is_evicted() {
        let slots = ConnectionSlots::new(2, 0);
        let first = slots.acquire(None).expect("free");
        let second = slots.acquire(None).expect("free");
        std::thread::sleep(Duration::from_millis(2));
        // A request on the first has just ended.
        drop(first.begin_request());
        let third = slots.acquire(None).expect("evicted");
        assert!(second.state.evicted.is_cancelled() && is_evicted(&second));
        assert!(!is_evicted(&first) && !is_evicted(&third));
        // The slot of the evicted connection is the third's already.
        drop(second);
        assert_eq!(slots.taken.lock().slots.len(), 2);
    }

    #[test]
    fn busy_connection_is_not_evicted() {
        let slots = ConnectionSlots::new(1, 0);
        let first = slots.acquire(None).expect("free");
        let (one, other) = (first.begin_request(), first.begin_request());
        drop(one);
        assert!(slots.acquire(None).is_none());
        drop(other);
        assert!(slots.acquire(None).is_some());
        assert!(is_evicted(&first));
    }

    #[test]
    fn closed_connection_frees_its_slot() {
        let slots = ConnectionSlots::new(1, 0);
        let first = slots.acquire(None).expect("free");
        let busy = first.begin_request();
        drop(first);
        let second = slots.acquire(None).expect("free");
        drop(busy);
        assert!(!is_evicted(&second));
    }

    #[test]
    fn network_has_a_limit() {
        let slots = ConnectionSlots::new(3, 2);
        let network = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        let one = slots.acquire(network(1)).expect("free");
        let other = slots.acquire(network(1)).expect("free");
        let busy = (one.begin_request(), other.begin_request());
        assert!(slots.acquire(network(1)).is_none(), "both are busy");
        let neighbor = slots.acquire(network(2)).expect("free");
        drop(busy);
        let third = slots.acquire(network(1)).expect("evicted one of its own");
        assert!(is_evicted(&one) != is_evicted(&other) && !is_evicted(&neighbor));
        std::thread::sleep(Duration::from_millis(2));
        drop((one, other, third));
        let proxied: Vec<_> = (0..3).map(|_| slots.acquire(None)).collect();
        assert!(proxied.iter().all(Option::is_some), "no limit but that of the listener");
        assert!(is_evicted(&neighbor));
        drop((proxied, neighbor));
        assert!(slots.taken.lock().by_network.is_empty());
    }
}
