//! The event stream of one client.

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
use miniapp_types::task::{Event, EventType};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::delivered::DeliveredEvents;
use super::hub::{Hub, Subscription};
use super::slots::{StreamSlot, StreamSlots};
use super::sse::{SseChunk, SseEncoder};
use super::subscriber::Received;
use crate::config::StreamConfig;
use crate::error::store_problem;
use crate::token::{Principal, TokenVerifier};

/// The size after which a body frame is full, in bytes. A stream holds one frame and reads the
/// next one when the client has taken it, so this bounds the memory of a stream.
const FRAME_BYTES: usize = 64 * 1024;
/// How many events are read from the store at a time: about a frame. Each page reads all
/// timelines with later events.
const PAGE_SIZE: u32 = 256;
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
        Self { tasks, verifier, clock, hub: Arc::default(), slots, has_other_writers }
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
}

pub(crate) struct Stream {
    live: LiveEvents,
    principal: Arc<Principal>,
    source: Source,
    subscription: Subscription,
    _slot: StreamSlot,
    delivered: DeliveredEvents,
    /// After a gap, the event after which the store has to be read.
    read_after: Option<Uuid>,
    /// The next frame.
    ready: Bytes,
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
        let slot = live.slots.acquire(principal.user_id)?;
        // Before the store is read, so that no event is missed in between.
        let subscription = live.hub.subscribe(principal.user_id, task);
        let now = Instant::now();
        let mut stream = Self {
            delivered: match (source, last) {
                (Source::Owner, None) => DeliveredEvents::starting_at(new_id(live.clock.as_ref())),
                (Source::Owner, Some(last)) if live.has_other_writers => {
                    DeliveredEvents::after_with_skew(last)
                }
                (Source::Owner, Some(last)) => DeliveredEvents::after(last),
                (Source::Task(_), _) => DeliveredEvents::starting_at(Uuid::nil()),
            },
            live,
            principal,
            source,
            subscription,
            _slot: slot,
            read_after: None,
            ready: Bytes::new(),
            has_ended: false,
            revalidate_at: now + REVALIDATE_INTERVAL,
            last_sent_at: now,
        };
        let events = match (source, last) {
            (Source::Owner, None) => Bytes::new(),
            (Source::Owner, Some(_)) => stream.read_page(stream.delivered.read_after()).await?,
            (Source::Task(id), last) => stream.read_timeline(id, last).await?,
        };
        if stream.has_ended && events.is_empty() {
            return Ok(None);
        }
        stream.ready = [PREAMBLE, &events].concat().into();
        Ok(Some(stream))
    }

    /// Returns the next frame, or `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let frame = loop {
            if !self.ready.is_empty() {
                break std::mem::take(&mut self.ready);
            }
            if self.has_ended {
                return None;
            }
            let now = Instant::now();
            if now >= self.revalidate_at {
                if let Err(error) = self.live.verifier.revalidate(&self.principal).await {
                    tracing::debug!(%error, "closed an event stream: its token is no longer valid");
                    return None;
                }
                self.revalidate_at = now + REVALIDATE_INTERVAL;
                if now - self.last_sent_at >= KEEP_ALIVE_INTERVAL {
                    break KEEP_ALIVE;
                }
            }
            if let Some(after) = self.read_after.take() {
                self.ready = match self.read_again(after).await {
                    Ok(events) => events,
                    Err(problem) => {
                        tracing::debug!(%problem, "closed an event stream: its events could not be read");
                        return None;
                    }
                };
                continue;
            }
            tokio::select! {
                () = sleep_until(self.revalidate_at) => {}
                received = self.subscription.receive(FRAME_BYTES) => match received {
                    Received::Chunks(chunks) => self.ready = self.take_new(&chunks),
                    Received::Gap => self.read_after = Some(self.delivered.read_after()),
                }
            }
        };
        self.last_sent_at = Instant::now();
        Some(frame)
    }

    async fn read_again(&mut self, after: Uuid) -> Result<Bytes, Problem> {
        match self.source {
            Source::Owner => self.read_page(after).await,
            Source::Task(id) => self.read_timeline(id, self.delivered.last()).await,
        }
    }

    /// Reads the next page of the events of all tasks.
    async fn read_page(&mut self, after: Uuid) -> Result<Bytes, Problem> {
        let read = self.live.tasks.events_after(self.principal.user_id, after, PAGE_SIZE).await;
        let events = read.map_err(store_problem)?;
        let (frame, last) = self.encode_new(&events);
        let is_complete = last == events.last().map(|event| event.id);
        self.read_after =
            if is_complete && events.len() < PAGE_SIZE as usize { None } else { last };
        Ok(frame)
    }

    /// Reads the events of a task that follow after `last`.
    async fn read_timeline(&mut self, id: Uuid, last: Option<Uuid>) -> Result<Bytes, Problem> {
        let read = self.live.tasks.timeline(self.principal.user_id, id).await;
        let gone = || Problem::new(Code::TaskNotFound);
        let events = read.map_err(store_problem)?.ok_or_else(gone)?;
        let Some(newest) = events.last() else { return Err(gone()) };
        if newest.kind == EventType::Deleted && last.is_none() {
            return Err(gone());
        }
        // By position, not by id: ids depend on the clocks of several processes.
        let position = events.iter().position(|event| Some(event.id) == last);
        let (known, new): (Vec<&Event>, Vec<&Event>) = match (position, last) {
            (Some(position), _) => {
                (events[..=position].iter().collect(), events[position + 1..].iter().collect())
            }
            (None, Some(last)) => events.iter().partition(|event| event.id <= last),
            (None, None) => (Vec::new(), events.iter().collect()),
        };
        for event in known {
            self.delivered.insert(event.id);
        }
        let (frame, last) = self.encode_new(new.iter().copied());
        let is_complete = last == new.last().map(|event| event.id);
        self.has_ended = is_complete && newest.status.is_terminal();
        self.read_after = if is_complete { None } else { last };
        Ok(frame)
    }

    /// Encodes those of the events that were not delivered yet, until a frame is full. Also
    /// returns the last event that was considered.
    fn encode_new<'e>(
        &mut self,
        events: impl IntoIterator<Item = &'e Event>,
    ) -> (Bytes, Option<Uuid>) {
        let mut encoder = SseEncoder::default();
        let mut last = None;
        for event in events {
            if encoder.bytes() >= FRAME_BYTES {
                break;
            }
            last = Some(event.id);
            if self.delivered.insert(event.id) {
                encoder.push(event);
            }
        }
        (encoder.finish().bytes, last)
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
