//! The memory of a listener's requests in progress.
//!
//! A client can begin many requests and finish none. Each is bounded, but only their sum
//! shows what they cost. So heads and bodies are counted while their requests are in
//! progress, in total and for each client network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use miniapp_types::problem::Code;
use parking_lot::Mutex;

use crate::problem::Problem;

/// A network can use one in this many bytes of a listener.
const NETWORK_SHARE: usize = 4;

/// The bytes that a listener may keep.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    capacity: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    total: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// The bytes of one request, until it has a response.
#[derive(Debug)]
pub(crate) struct RequestBytes {
    memory: Arc<RequestMemory>,
    network: IpAddr,
    bytes: Mutex<usize>,
}

impl RequestMemory {
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, used: Mutex::default() })
    }

    /// Begins a request of a client in `network`.
    pub fn request(self: &Arc<Self>, network: IpAddr) -> Arc<RequestBytes> {
        Arc::new(RequestBytes { memory: self.clone(), network, bytes: Mutex::new(0) })
    }
}

impl RequestBytes {
    /// Adds bytes that the request keeps. Rejects it if its network or the listener has no
    /// more.
    pub fn add(&self, count: usize) -> Result<(), Problem> {
        let RequestMemory { capacity, used } = &*self.memory;
        let mut used = used.lock();
        let of_network = used.by_network.get(&self.network).copied().unwrap_or_default() + count;
        let too_much = |code: Code| {
            let problem = Problem::new(code).detail("too many unfinished requests");
            Err(problem.retry_after(std::time::Duration::from_secs(1)))
        };
        if of_network > capacity / NETWORK_SHARE {
            return too_much(Code::TooManyRequests);
        }
        if used.total + count > *capacity {
            return too_much(Code::Unavailable);
        }
        used.total += count;
        used.by_network.insert(self.network, of_network);
        *self.bytes.lock() += count;
        Ok(())
    }
}

impl Drop for RequestBytes {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        if bytes == 0 {
            return;
        }
        let mut used = self.memory.used.lock();
        used.total -= bytes;
        if let Some(of_network) = used.by_network.get_mut(&self.network) {
            *of_network -= bytes;
            if *of_network == 0 {
                used.by_network.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn code(added: Result<(), Problem>) -> Option<Code> {
        added.err().map(|problem| problem.code())
    }

    #[test]
    fn network_has_a_share() {
        let memory = RequestMemory::new(400);
        let (one, two) = (memory.request(network(1)), memory.request(network(1)));
        assert_eq!(code(one.add(60)), None);
        assert_eq!(code(two.add(50)), Some(Code::TooManyRequests));
        assert_eq!(code(two.add(40)), None);
        assert_eq!(code(memory.request(network(2)).add(100)), None);
        drop(one);
        assert_eq!(code(two.add(60)), None);
    }

    #[test]
    fn listener_has_a_limit() {
        let memory = RequestMemory::new(400);
        let requests: Vec<_> = (0..5).map(|last| memory.request(network(last))).collect();
        let added: Vec<_> = requests.iter().map(|request| code(request.add(90))).collect();
        assert_eq!(added, [None, None, None, None, Some(Code::Unavailable)]);
        drop(requests);
        let used = memory.used.lock();
        assert_eq!((used.total, used.by_network.len()), (0, 0));
    }
}
