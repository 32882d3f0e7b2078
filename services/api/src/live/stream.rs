//! The event stream of one client.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use miniapp_http::Problem;
use miniapp_runtime::clock::{Clock, new_id};
use miniapp_tasks::Tasks;
use miniapp_types::problem::Code;
use miniapp_types::task::Event;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::delivered::DeliveredEvents;
use super::hub::{Hub, Subscription};
use super::replay::{ReadAhead, Replay, Scans};
use super::slots::{StreamSlot, StreamSlots};
use super::sse::{SseChunk, SseEncoder};
use super::subscriber::Received;
use crate::config::StreamConfig;
use crate::error::store_problem;
use crate::token::{Principal, TokenVerifier};

/// The size after which a body frame is full, in bytes. A stream holds one frame and reads the
/// next one when the client has taken it, so this bounds the memory of a stream.
const FRAME_BYTES: usize = 64 * 1024;
/// How often the token is validated again.
const REVALIDATE_INTERVAL: Duration = Duration::from_millis(400);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// The start of a stream: the reconnection delay of clients, in milliseconds.
const PREAMBLE: &[u8] = b"retry: 1000\n\n";
/// A comment, which clients ignore.
const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// The events of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// The events of all tasks of the caller, from now on.
    Owner,
    /// The events of a task, from the first one until its newest generation has ended.
    Task(Uuid),
}

/// Opens event streams. Cheap to clone.
#[derive(Clone)]
pub struct LiveEvents {
    tasks: Tasks,
    verifier: TokenVerifier,
    clock: Arc<dyn Clock>,
    pub(crate) hub: Arc<Hub>,
    slots: Arc<StreamSlots>,
    scans: Arc<Scans>,
    has_other_writers: bool,
}

impl LiveEvents {
    /// `has_other_writers`: other processes create events, too, with clocks of their own.
    pub(crate) fn new(
        tasks: Tasks,
        verifier: TokenVerifier,
        clock: Arc<dyn Clock>,
        limits: StreamConfig,
        has_other_writers: bool,
    ) -> Self {
        let slots = Arc::new(StreamSlots::new(limits));
        Self {
            tasks,
            verifier,
            clock,
            hub: Arc::default(),
            slots,
            scans: Arc::default(),
            has_other_writers,
        }
    }

    /// Opens a stream, after the event `last` if there is one. Returns `None` if the client
    /// has received every event and no more can follow. Rejects it if too many are open.
    pub(crate) async fn open(
        &self,
        principal: Arc<Principal>,
        source: Source,
        last: Option<Uuid>,
    ) -> Result<Option<Stream>, Problem> {
        Stream::open(self.clone(), principal, source, last).await
    }

    /// Takes a slot for a response that is read from the store while the client receives it.
    /// Rejects it if there are too many.
    pub(crate) fn slot(&self, account: Uuid) -> Result<StreamSlot, Problem> {
        self.slots.acquire(account)
    }
}

pub(crate) struct Stream {
    live: LiveEvents,
    principal: Arc<Principal>,
    source: Source,
    subscription: Subscription,
    slot: StreamSlot,
    delivered: DeliveredEvents,
    /// What has to be read from the store: at the start and after a gap.
    replay: Option<Replay>,
    /// The next frames.
    ready: VecDeque<Bytes>,
    /// Allows `ready` to contain more than one frame.
    read_ahead: Option<ReadAhead>,
    has_ended: bool,
    revalidate_at: Instant,
    last_sent_at: Instant,
}

impl Stream {
    async fn open(
        live: LiveEvents,
        principal: Arc<Principal>,
        source: Source,
        last: Option<Uuid>,
    ) -> Result<Option<Self>, Problem> {
        let task = match source {
            Source::Owner => None,
            Source::Task(id) => Some(id),
        };
        let slot = live.slot(principal.user_id)?;
        // Before the store is read, so that no event is missed in between.
        let subscription = live.hub.subscribe(principal.user_id, task);
        let now = Instant::now();
        let delivered = match (source, last) {
            (Source::Owner, None) => DeliveredEvents::starting_at(new_id(live.clock.as_ref())),
            (Source::Owner, Some(last)) if live.has_other_writers => {
                DeliveredEvents::after_with_skew(last)
            }
            (Source::Owner, Some(last)) => DeliveredEvents::after(last),
            (Source::Task(_), _) => DeliveredEvents::starting_at(Uuid::nil()),
        };
        let replay = match (source, last) {
            (Source::Owner, None) => None,
            (Source::Owner, Some(_)) => Some(Replay::After(Some(delivered.read_after()))),
            (Source::Task(_), last) => Some(Replay::After(last)),
        };
        let mut stream = Self {
            live,
            principal,
            source,
            subscription,
            slot,
            delivered,
            replay,
            ready: VecDeque::new(),
            read_ahead: None,
            has_ended: false,
            revalidate_at: now + REVALIDATE_INTERVAL,
            last_sent_at: now,
        };
        while stream.ready.is_empty()
            && let Some(replay) = stream.replay.take()
        {
            stream.read(replay).await?;
        }
        if stream.has_ended && stream.ready.is_empty() {
            return Ok(None);
        }
        let first = stream.ready.pop_front().unwrap_or_default();
        stream.ready.push_front([PREAMBLE, &first].concat().into());
        Ok(Some(stream))
    }

    /// Returns the next frame, or `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let frame = loop {
            let now = Instant::now();
            if now >= self.revalidate_at {
                match self.live.verifier.revalidate(&self.principal).await {
                    Ok(principal) => self.principal = principal,
                    Err(error) => {
                        let reason = "closed an event stream: its token is no longer valid";
                        tracing::debug!(%error, reason);
                        return None;
                    }
                }
                self.revalidate_at = now + REVALIDATE_INTERVAL;
            }
            if let Some(frame) = self.ready.pop_front() {
                break frame;
            }
            self.read_ahead = None;
            if self.has_ended {
                return None;
            }
            if now - self.last_sent_at >= KEEP_ALIVE_INTERVAL {
                break KEEP_ALIVE;
            }
            if let Some(replay) = self.replay.take() {
                if let Err(problem) = self.read(replay).await {
                    tracing::debug!(%problem, "closed an event stream: its events could not be read");
                    return None;
                }
                continue;
            }
            tokio::select! {
                () = sleep_until(self.revalidate_at) => {}
                received = self.subscription.receive(FRAME_BYTES) => match received {
                    Received::Chunks(chunks) => {
                        let frame = self.take_new(&chunks);
                        self.push(frame);
                    }
                    Received::Gap => self.replay = Some(Replay::After(match self.source {
                        Source::Owner => Some(self.delivered.read_after()),
                        Source::Task(_) => self.delivered.last(),
                    })),
                }
            }
        };
        self.last_sent_at = Instant::now();
        Some(frame)
    }

    /// Reads the next events from the store.
    async fn read(&mut self, replay: Replay) -> Result<(), Problem> {
        match (self.source, replay) {
            (Source::Owner, Replay::After(after) | Replay::Page(_, after)) => {
                self.read_feed(after.unwrap_or_default()).await
            }
            (Source::Task(id), Replay::Page(page, last)) => self.read_part(id, page, last).await,
            (Source::Task(id), Replay::After(None)) => self.read_part(id, 0, None).await,
            (Source::Task(id), Replay::After(Some(last))) => {
                let page = self.live.tasks.page_before(id, last).await.map_err(store_problem)?;
                self.read_part(id, page, Some(last)).await
            }
        }
    }

    /// Reads the first events of all tasks after `after`.
    async fn read_feed(&mut self, after: Uuid) -> Result<(), Problem> {
        let scans = self.live.scans.clone();
        let scan = scans.begin(&self.slot).await;
        let owner = self.principal.user_id;
        let read = self.live.tasks.events_after(owner, after, scan.limit()).await;
        let page = read.map_err(store_problem)?;
        self.encode_new(&page.events);
        self.read_ahead = scan.finish();
        let last = page.events.last().filter(|_| !page.is_complete);
        self.replay = last.map(|event| Replay::After(Some(event.id)));
        Ok(())
    }

    /// Reads the part of a task's timeline that begins with the page `page`. The client has the
    /// events up to `last`, if that is not in an earlier part.
    async fn read_part(&mut self, id: Uuid, page: u32, last: Option<Uuid>) -> Result<(), Problem> {
        let read = self.live.tasks.timeline(self.principal.user_id, id, page).await;
        let gone = || Problem::new(Code::TaskNotFound);
        let part = read.map_err(store_problem)?.ok_or_else(gone)?;
        if part.deleted && page == 0 && last.is_none() {
            return Err(gone());
        }
        // By position, not by id: ids depend on the clocks of several processes.
        let position = part.events.iter().position(|event| Some(event.id) == last);
        let (known, new): (Vec<&Event>, Vec<&Event>) = match (position, last) {
            (Some(position), _) => {
                let (known, new) = part.events.split_at(position + 1);
                (known.iter().collect(), new.iter().collect())
            }
            (None, Some(last)) => part.events.iter().partition(|event| event.id <= last),
            (None, None) => (Vec::new(), part.events.iter().collect()),
        };
        for event in known {
            self.delivered.insert(event.id);
        }
        self.encode_new(new);
        let last = last.filter(|_| position.is_none());
        self.replay = part.next_page.map(|page| Replay::Page(page, last));
        self.has_ended = self.replay.is_none() && part.status.is_terminal();
        Ok(())
    }

    /// Adds frames of those of the events that were not delivered yet.
    fn encode_new<'e>(&mut self, events: impl IntoIterator<Item = &'e Event>) {
        let mut encoder = SseEncoder::default();
        for event in events {
            if !self.delivered.insert(event.id) {
                continue;
            }
            encoder.push(event);
            if encoder.bytes() >= FRAME_BYTES {
                self.push(std::mem::take(&mut encoder).finish().bytes);
            }
        }
        self.push(encoder.finish().bytes);
    }

    fn push(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.ready.push_back(frame);
        }
    }

    /// Returns the events of the chunks that were not delivered yet. Copies nothing if a
    /// single chunk is entirely new.
    fn take_new(&mut self, chunks: &[Arc<SseChunk>]) -> Bytes {
        let mut bytes = BytesMut::new();
        for chunk in chunks {
            let new: Vec<bool> =
                chunk.offsets.iter().map(|event| self.delivered.insert(event.id)).collect();
            let newest = chunk.offsets.iter().zip(&new).rfind(|(_, new)| **new);
            if let (Source::Task(_), Some((newest, _))) = (self.source, newest) {
                self.has_ended = newest.is_terminal;
            }
            if new.iter().all(|new| *new) {
                if chunks.len() == 1 {
                    return chunk.bytes.clone();
                }
                bytes.extend_from_slice(&chunk.bytes);
            } else {
                for (event, _) in chunk.events().zip(new).filter(|(_, new)| *new) {
                    bytes.extend_from_slice(event);
                }
            }
        }
        bytes.freeze()
    }

    /// Returns the stream as a response.
    pub fn into_response(self) -> Response {
        const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
        let frames = futures_util::stream::unfold(self, async |mut stream| {
            stream.next().await.map(|frame| (Ok::<_, Infallible>(frame), stream))
        });
        let mut response = Response::new(Body::from_stream(frames));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
        response
    }
}
