//! The connections that a listener serves: so many at once, and who makes room.
//!
//! Connections that wait for a request cost their clients nothing, so that a few clients
//! could have all of them. Where none is left, the one that has waited the longest ends
//! for the sake of the newest. One that answers a request never does.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// All places of a listener.
pub(super) struct Places {
    most: usize,
    began: Instant,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    places: HashMap<u64, Arc<Occupied>>,
}

struct Occupied {
    /// Requests whose answers are not sent yet, or [`GIVEN_UP`].
    answering: AtomicU32,
    /// When the last of them was, in microseconds after the listener began.
    waiting_since: AtomicU64,
    given_up: CancellationToken,
}

/// The place is another's: no request is begun any more.
const GIVEN_UP: u32 = u32::MAX;

impl Occupied {
    fn is_waiting(&self) -> bool {
        self.answering.load(Ordering::Acquire) == 0
    }

    /// Gives up the place, unless a request was faster.
    fn give_up(&self) -> bool {
        let given_up =
            self.answering.compare_exchange(0, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
        if given_up.is_ok() {
            self.given_up.cancel();
        }
        given_up.is_ok()
    }
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, began: Instant::now(), taken: Mutex::default() })
    }

    /// A place for a new connection, if there is one or one can be made.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.taken.lock();
        while taken.places.len() >= self.most {
            let waiting = taken.places.iter().filter(|(_, occupied)| occupied.is_waiting());
            let since = |occupied: &Occupied| occupied.waiting_since.load(Ordering::Acquire);
            let (&longest, occupied) = waiting.min_by_key(|(_, occupied)| since(occupied))?;
            if occupied.give_up() {
                taken.places.remove(&longest);
            }
        }
        let number = taken.next;
        taken.next += 1;
        let occupied = Arc::new(Occupied {
            answering: AtomicU32::new(0),
            waiting_since: AtomicU64::new(self.now()),
            given_up: CancellationToken::new(),
        });
        taken.places.insert(number, occupied.clone());
        Some(Place { places: self.clone(), number, occupied })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The place of one connection.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    occupied: Arc<Occupied>,
}

impl Place {
    /// Waits until the place is another's, and the connection has to end.
    pub(super) async fn given_up(&self) {
        self.occupied.given_up.cancelled().await;
    }

    /// Keeps the place for as long as an answer is made and sent. `None`: it is given up.
    pub(super) fn answering(&self) -> Option<Answering> {
        let one_more = |count: u32| (count != GIVEN_UP).then(|| count + 1);
        let began =
            self.occupied.answering.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        let (places, occupied) = (self.places.clone(), self.occupied.clone());
        began.is_ok().then(|| Answering { places, occupied })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().places.remove(&self.number);
    }
}

/// An answer is under way.
pub(super) struct Answering {
    places: Arc<Places>,
    occupied: Arc<Occupied>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.occupied.waiting_since.store(self.places.now(), Ordering::Release);
        self.occupied.answering.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A body whose answer is under way until it is dropped.
pub(super) struct Sent<B> {
    body: B,
    _answering: Answering,
}

impl<B> Sent<B> {
    pub(super) fn new(body: B, answering: Answering) -> Self {
        Self { body, _answering: answering }
    }
}

impl<B: Body + Unpin> Body for Sent<B> {
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

    fn is_given_up(place: &Place) -> bool {
        place.answering().is_none()
    }

    #[test]
    fn the_one_that_waits_longest_makes_room() {
        let places = Places::new(2);
        let first = places.take().expect("free");
        let second = places.take().expect("free");
        std::thread::sleep(Duration::from_millis(2));
        // It has just been answered.
        drop(first.answering());
        let third = places.take().expect("made");
        assert!(second.occupied.given_up.is_cancelled() && is_given_up(&second));
        assert!(!is_given_up(&first) && !is_given_up(&third));
        // Its place is the third's: it leaves none behind.
        drop(second);
        assert_eq!(places.taken.lock().places.len(), 2);
    }

    #[test]
    fn an_answer_under_way_keeps_its_place() {
        let places = Places::new(1);
        let first = places.take().expect("free");
        let (one, other) = (first.answering(), first.answering());
        drop(one);
        assert!(places.take().is_none());
        drop(other);
        assert!(places.take().is_some());
        assert!(is_given_up(&first));
    }

    #[test]
    fn whoever_leaves_makes_room() {
        let places = Places::new(1);
        let first = places.take().expect("free");
        let answering = first.answering();
        drop(first);
        let second = places.take().expect("free");
        drop(answering);
        assert!(!is_given_up(&second));
    }
}
