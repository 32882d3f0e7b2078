//! Batched acknowledgements.
//!
//! One `basic.ack` with `multiple` acknowledges every delivery up to its tag, for the price
//! of one. So acknowledgements are collected while more deliveries keep coming.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The unsettled deliveries of a channel.
///
/// lapin queues a frame on the first poll of its future, so nothing here waits for the
/// socket. On a closed channel that has no effect, as intended.
pub(super) struct AckBatcher {
    channel: Channel,
    /// Locked while frames are queued, because their order matters.
    tags: Mutex<Tags>,
    acked: Notify,
}

/// Delivery tags, which only grow.
#[derive(Default)]
struct Tags {
    unsettled: BTreeSet<u64>,
    /// Acknowledged here, but not yet to the server.
    acked: BTreeSet<u64>,
}

impl AckBatcher {
    pub fn new(channel: Channel) -> Self {
        Self { channel, tags: Mutex::default(), acked: Notify::new() }
    }

    /// Whether deliveries can still be settled.
    pub fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    pub fn delivered(&self, tag: u64) {
        self.tags.lock().unsettled.insert(tag);
    }

    /// Marks a delivery as acknowledged. [`Self::flush`] sends it to the server.
    pub fn ack(&self, tag: u64) {
        let mut tags = self.tags.lock();
        tags.unsettled.remove(&tag);
        tags.acked.insert(tag);
        drop(tags);
        self.acked.notify_one();
    }

    /// Returns a delivery to its queue.
    pub fn release(&self, tag: u64) {
        let mut tags = self.tags.lock();
        tags.unsettled.remove(&tag);
        // Nack, not reject: newer servers count a reject as a failed delivery.
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        let _ = self.channel.basic_nack(tag, options).now_or_never();
    }

    /// Dead-letters a delivery.
    pub fn reject(&self, tag: u64) {
        let mut tags = self.tags.lock();
        tags.unsettled.remove(&tag);
        let options = BasicRejectOptions { requeue: false };
        let _ = self.channel.basic_reject(tag, options).now_or_never();
    }

    /// Waits for an acknowledgement to flush.
    pub async fn acked(&self) {
        self.acked.notified().await;
    }

    /// Returns the number of acknowledgements to flush.
    pub fn pending(&self) -> usize {
        self.tags.lock().acked.len()
    }

    /// Sends the collected acknowledgements.
    pub fn flush(&self) {
        let mut tags = self.tags.lock();
        for (tag, multiple) in tags.take_acks() {
            let _ = self.channel.basic_ack(tag, BasicAckOptions { multiple }).now_or_never();
        }
    }
}

impl Tags {
    /// Takes the acknowledgements to send: a tag, and whether it covers all tags before it.
    fn take_acks(&mut self) -> Vec<(u64, bool)> {
        let mut multiple = std::mem::take(&mut self.acked);
        let single = match self.unsettled.first() {
            Some(first) => multiple.split_off(first),
            None => BTreeSet::new(),
        };
        let multiple = multiple.last().map(|last| (*last, multiple.len() > 1));
        multiple.into_iter().chain(single.into_iter().map(|tag| (tag, false))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(unsettled: &[u64], acked: &[u64]) -> Vec<(u64, bool)> {
        let mut tags = Tags {
            unsettled: unsettled.iter().copied().collect(),
            acked: acked.iter().copied().collect(),
        };
        let acks = tags.take_acks();
        assert!(tags.acked.is_empty());
        acks
    }

    #[test]
    fn acks_cover_multiple_tags_up_to_the_first_unsettled_one() {
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
