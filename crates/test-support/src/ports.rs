//! Ports for listeners.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ephemeral ports: a test with thousands of connections would use those up.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// Returns a port of 127.0.0.1 without a listener.
pub fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Concurrent test processes begin far from each other.
    let begin = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT));
    let begin = begin.expect("below COUNT");
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(begin) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST + offset)).is_ok() {
            return FIRST + offset;
        }
    }
    panic!("there is no free port");
}
