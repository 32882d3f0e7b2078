//! Which deliveries of a channel are settled, and telling the server.
//!
//! What it costs a server to hear of one settled delivery it costs to hear of hundreds, if
//! those are all up to a certain one. So acknowledgements are gathered for as long as more
//! come anyway.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The deliveries of a channel that the server waits to hear of.
///
/// The client queues a frame when it is first asked to send it, so nobody here waits until
/// it is written. On a channel that is gone that does nothing, as it should.
pub(super) struct Ledger {
    channel: Channel,
    /// Held while frames are queued, whose order matters.
    open: Mutex<Open>,
    acked: Notify,
}

/// By the server's numbers, which only grow.
#[derive(Default)]
struct Open {
    /// In somebody's hands.
    held: BTreeSet<u64>,
    /// Done, and the server doesn't know.
    done: BTreeSet<u64>,
}

impl Ledger {
    pub fn new(channel: Channel) -> Self {
        Self { channel, open: Mutex::default(), acked: Notify::new() }
    }

    /// Whether it can still be settled what was delivered.
    pub fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    pub fn delivered(&self, tag: u64) {
        self.open.lock().held.insert(tag);
    }

    /// Notes that a delivery is done; the next [flush](Self::flush) tells the server.
    pub fn ack(&self, tag: u64) {
        let mut open = self.open.lock();
        open.held.remove(&tag);
        open.done.insert(tag);
        drop(open);
        self.acked.notify_one();
    }

    /// Gives a delivery back.
    pub fn release(&self, tag: u64) {
        let mut open = self.open.lock();
        open.held.remove(&tag);
        // Not rejected, which newer servers count as a failed delivery.
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        let _ = self.channel.basic_nack(tag, options).now_or_never();
    }

    /// Sends a delivery to the dead letters.
    pub fn reject(&self, tag: u64) {
        let mut open = self.open.lock();
        open.held.remove(&tag);
        let options = BasicRejectOptions { requeue: false };
        let _ = self.channel.basic_reject(tag, options).now_or_never();
    }

    /// Waits until there is something to flush.
    pub async fn acked(&self) {
        self.acked.notified().await;
    }

    /// How many deliveries are done that the server doesn't know of.
    pub fn gathered(&self) -> usize {
        self.open.lock().done.len()
    }

    /// Tells the server what is done.
    pub fn flush(&self) {
        let mut open = self.open.lock();
        for (tag, multiple) in open.acks() {
            let _ = self.channel.basic_ack(tag, BasicAckOptions { multiple }).now_or_never();
        }
    }
}

impl Open {
    /// What to acknowledge: each by itself, or also everything before it.
    fn acks(&mut self) -> Vec<(u64, bool)> {
        let mut done = std::mem::take(&mut self.done);
        let single = match self.held.first() {
            Some(first) => done.split_off(first),
            None => BTreeSet::new(),
        };
        let multiple = done.last().map(|last| (*last, done.len() > 1));
        multiple.into_iter().chain(single.into_iter().map(|tag| (tag, false))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(held: &[u64], done: &[u64]) -> Vec<(u64, bool)> {
        let mut open =
            Open { held: held.iter().copied().collect(), done: done.iter().copied().collect() };
        let acks = open.acks();
        assert!(open.done.is_empty());
        acks
    }

    #[test]
    fn tells_of_many_with_one_word_where_none_between_is_held() {
        assert_eq!(acks(&[], &[]), []);
        assert_eq!(acks(&[4], &[]), []);
        assert_eq!(acks(&[], &[7]), [(7, false)]);
        assert_eq!(acks(&[], &[5, 6, 7]), [(7, true)]);
        assert_eq!(acks(&[8], &[5, 7]), [(7, true)]);
        assert_eq!(
            acks(&[6, 9], &[4, 5, 7, 8, 10]),
            [(5, true), (7, false), (8, false), (10, false)]
        );
        assert_eq!(acks(&[1], &[2, 3]), [(2, false), (3, false)]);
    }
}
