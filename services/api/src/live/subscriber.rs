//! What waits for one stream.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::chunk::Chunk;

/// How many bytes may wait for a stream; one that is slower than that reads the store
/// when it has caught up.
const CAPACITY: usize = 4 << 20;
/// How many chunks may, however small they are.
const CHUNKS: usize = 4096;

/// A bounded queue that forgets everything when it is full, and says so.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
    missed: bool,
}

/// What was taken out.
#[derive(Debug)]
pub(super) enum Post {
    /// Events, in their order.
    Chunks(Vec<Arc<Chunk>>),
    /// Events were lost: the store has them.
    Missed,
}

impl Mailbox {
    /// Adds events.
    pub fn put(&self, chunk: &Arc<Chunk>) {
        let mut waiting = self.waiting.lock();
        let bytes = waiting.bytes + chunk.bytes.len();
        if waiting.chunks.len() >= CHUNKS || (bytes > CAPACITY && !waiting.chunks.is_empty()) {
            *waiting = Waiting { missed: true, ..Waiting::default() };
        } else {
            waiting.bytes = bytes;
            waiting.chunks.push_back(chunk.clone());
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Notes that events may be missing; those that wait are in the store, too.
    pub fn miss(&self) {
        *self.waiting.lock() = Waiting { missed: true, ..Waiting::default() };
        self.arrived.notify_one();
    }

    /// Waits for something and takes it: about `bytes` of it, or more where that comes in
    /// one piece.
    pub async fn take(&self, bytes: usize) -> Post {
        loop {
            if let Some(post) = self.waiting.lock().take(bytes) {
                return post;
            }
            self.arrived.notified().await;
        }
    }
}

impl Waiting {
    fn take(&mut self, bytes: usize) -> Option<Post> {
        if mem::take(&mut self.missed) {
            return Some(Post::Missed);
        }
        let mut taken = Vec::new();
        let mut size = 0;
        while let Some(chunk) =
            self.chunks.pop_front_if(|next| taken.is_empty() || size + next.bytes.len() <= bytes)
        {
            size += chunk.bytes.len();
            taken.push(chunk);
        }
        self.bytes -= size;
        (!taken.is_empty()).then_some(Post::Chunks(taken))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;

    use super::*;

    fn chunk(size: usize) -> Arc<Chunk> {
        Arc::new(Chunk { bytes: Bytes::from(vec![b'x'; size]), marks: Vec::new() })
    }

    fn taken(mailbox: &Mailbox, bytes: usize) -> Option<Vec<usize>> {
        match mailbox.take(bytes).now_or_never()? {
            Post::Chunks(chunks) => Some(chunks.iter().map(|chunk| chunk.bytes.len()).collect()),
            Post::Missed => Some(Vec::new()),
        }
    }

    #[test]
    fn what_is_ready_is_taken_together() {
        let mailbox = Mailbox::default();
        for size in [1, 2, 3, 100] {
            mailbox.put(&chunk(size));
        }
        assert_eq!(taken(&mailbox, 10), Some(vec![1, 2, 3]));
        assert_eq!(taken(&mailbox, 10), Some(vec![100]));
        assert_eq!(taken(&mailbox, 10), None);
    }

    #[test]
    fn a_full_mailbox_forgets_and_says_so() {
        let mailbox = Mailbox::default();
        mailbox.put(&chunk(CAPACITY + 1));
        assert_eq!(taken(&mailbox, 10), Some(vec![CAPACITY + 1]));
        mailbox.put(&chunk(CAPACITY));
        mailbox.put(&chunk(1));
        mailbox.put(&chunk(2));
        assert_eq!(taken(&mailbox, 10), Some(vec![]));
        assert_eq!(taken(&mailbox, 10), Some(vec![2]));
        mailbox.put(&chunk(1));
        mailbox.miss();
        assert_eq!(taken(&mailbox, 10), Some(vec![]));
        assert_eq!(taken(&mailbox, 10), None);
    }
}
