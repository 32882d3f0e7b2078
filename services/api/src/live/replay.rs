//! Limits of reading events again from the store.
//!
//! The events of an account after a given one are found by a scan of its tasks that have changed
//! since. An account that has changed many tasks could resume many streams far back. So an account
//! has one scan at a time and the process a few. A scan returns more than a frame if the process
//! has memory for it, because the next page needs another scan.

use std::sync::Arc;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::slots::StreamSlot;

/// How many scans run at a time.
const SCANS: usize = 2;
/// How many streams may hold more events than a frame. Their pages have at most 512 KiB in the
/// store, about 2 MiB as events.
const READ_AHEADS: usize = 16;
/// How many events are read with and without reading ahead; the latter is about a frame.
const READ_AHEAD_EVENTS: u32 = 4096;
const FRAME_EVENTS: u32 = 256;

/// What a stream has to read from the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Replay {
    /// The events after this one, or all.
    After(Option<Uuid>),
    /// The events of a task from a page of its timeline on, without those up to the given one.
    Page(u32, Option<Uuid>),
}

/// Limits the scans of a process.
#[derive(Debug)]
pub(super) struct Scans {
    running: Semaphore,
    read_aheads: Arc<Semaphore>,
}

/// The permission to hold more events than a frame.
#[derive(Debug)]
pub(super) struct ReadAhead(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

/// A scan that may run.
pub(super) struct Scan<'s> {
    _of_account: OwnedMutexGuard<()>,
    _of_process: Option<tokio::sync::SemaphorePermit<'s>>,
    read_ahead: Option<ReadAhead>,
}

impl Default for Scans {
    fn default() -> Self {
        Self { running: Semaphore::new(SCANS), read_aheads: Arc::new(Semaphore::new(READ_AHEADS)) }
    }
}

impl Scans {
    /// Waits until the stream with `slot` may scan.
    pub async fn begin(&self, slot: &StreamSlot) -> Scan<'_> {
        let of_account = slot.scan_lock().lock_owned().await;
        // Never closed.
        let of_process = self.running.acquire().await.ok();
        let read_ahead = self.read_aheads.clone().try_acquire_owned().ok().map(ReadAhead);
        Scan { _of_account: of_account, _of_process: of_process, read_ahead }
    }
}

impl Scan<'_> {
    /// Returns the number of events to read.
    pub fn limit(&self) -> u32 {
        if self.read_ahead.is_some() { READ_AHEAD_EVENTS } else { FRAME_EVENTS }
    }

    /// Ends the scan. The events may be held as long as the result.
    pub fn finish(self) -> Option<ReadAhead> {
        self.read_ahead
    }
}
