//! One client's stream of events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use miniapp_http::Problem;
use miniapp_runtime::clock::new_id;
use miniapp_types::problem::Code;
use miniapp_types::task::{Event, EventType};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::chunk::{Chunk, Writer};
use super::hub::Watch;
use super::mailbox::Post;
use super::sent::Sent;
use crate::routes::fault;
use crate::state::Api;
use crate::token::Principal;

/// How many events are read from the store at a time.
const PAGE: u32 = 10_000;
/// About how many bytes go out in one piece.
const PIECE: usize = 64 * 1024;
/// How often it is looked whether the principal may still listen.
const RECHECK: Duration = Duration::from_millis(400);
/// After how much silence a sign of life is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a stream begins with: clients whose connection breaks wait this many milliseconds.
const HEAD: &[u8] = b"retry: 1000\n\n";
const SIGN_OF_LIFE: Bytes = Bytes::from_static(b":\n\n");

/// What a stream is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// Everything that happens to the principal's tasks from now on.
    Owner,
    /// A task, from its beginning until its newest generation has ended.
    Task(Uuid),
}

/// A stream in the making.
pub(crate) struct Stream {
    api: Api,
    principal: Arc<Principal>,
    source: Source,
    watch: Watch,
    sent: Sent,
    /// After which event the store has to be read, if it has to be.
    behind: Option<Uuid>,
    /// What goes out next.
    ready: Bytes,
    has_ended: bool,
    recheck_at: Instant,
    quiet_since: Instant,
}

impl Stream {
    /// Begins a stream, after the event `last` if one is given. `None`: there is nothing
    /// to come, the client has it all.
    pub async fn open(
        api: Api,
        principal: Arc<Principal>,
        source: Source,
        last: Option<Uuid>,
    ) -> Result<Option<Self>, Problem> {
        let task = match source {
            Source::Owner => None,
            Source::Task(id) => Some(id),
        };
        // Before the store is read, so that nothing happens unseen in between.
        let watch = api.hub.watch(principal.user_id, task);
        let now = Instant::now();
        let mut stream = Self {
            sent: match (source, last) {
                (Source::Owner, None) => Sent::from(new_id(api.clock.as_ref())),
                (Source::Owner, Some(last)) if api.has_others => Sent::after_among_others(last),
                (Source::Owner, Some(last)) => Sent::after(last),
                (Source::Task(_), _) => Sent::from(Uuid::nil()),
            },
            api,
            principal,
            source,
            watch,
            behind: None,
            ready: Bytes::new(),
            has_ended: false,
            recheck_at: now + RECHECK,
            quiet_since: now,
        };
        let events = match (source, last) {
            (Source::Owner, None) => Bytes::new(),
            (Source::Owner, Some(_)) => stream.read_page(stream.sent.read_after()).await?,
            (Source::Task(id), last) => stream.read_timeline(id, last).await?,
        };
        if stream.has_ended && events.is_empty() {
            return Ok(None);
        }
        stream.ready = [HEAD, &events].concat().into();
        Ok(Some(stream))
    }

    /// The next piece; `None` when it is over.
    async fn next(&mut self) -> Option<Bytes> {
        let piece = loop {
            if !self.ready.is_empty() {
                break std::mem::take(&mut self.ready);
            }
            if self.has_ended {
                return None;
            }
            let now = Instant::now();
            if now >= self.recheck_at {
                if let Err(refusal) = self.api.verifier.revalidate(&self.principal).await {
                    tracing::debug!(%refusal, "closed an event stream: its token is no longer valid");
                    return None;
                }
                self.recheck_at = now + RECHECK;
                if now - self.quiet_since >= KEEP_ALIVE {
                    break SIGN_OF_LIFE;
                }
            }
            if let Some(after) = self.behind.take() {
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
                () = sleep_until(self.recheck_at) => {}
                post = self.watch.take(PIECE) => match post {
                    Post::Chunks(chunks) => self.ready = self.pick(&chunks),
                    Post::Missed => self.behind = Some(self.sent.read_after()),
                }
            }
        };
        self.quiet_since = Instant::now();
        Some(piece)
    }

    async fn read_again(&mut self, after: Uuid) -> Result<Bytes, Problem> {
        match self.source {
            Source::Owner => self.read_page(after).await,
            Source::Task(id) => self.read_timeline(id, self.sent.last()).await,
        }
    }

    /// The next events of all tasks from the store.
    async fn read_page(&mut self, after: Uuid) -> Result<Bytes, Problem> {
        let read = self.api.tasks.events_after(self.principal.user_id, after, PAGE).await;
        let events = read.map_err(fault::store)?;
        let is_full = events.len() >= PAGE as usize;
        self.behind = if is_full { events.last().map(|event| event.id) } else { None };
        Ok(self.write(&events))
    }

    /// What follows after `last` in the timeline of a task.
    async fn read_timeline(&mut self, id: Uuid, last: Option<Uuid>) -> Result<Bytes, Problem> {
        let read = self.api.tasks.timeline(self.principal.user_id, id).await;
        let gone = || Problem::new(Code::TaskNotFound);
        let events = read.map_err(fault::store)?.ok_or_else(gone)?;
        let Some(newest) = events.last() else { return Err(gone()) };
        if newest.kind == EventType::Deleted && last.is_none() {
            return Err(gone());
        }
        self.has_ended = newest.status.is_terminal();
        // The timeline's own order counts, whatever the clocks said that ids are made of.
        let place = events.iter().position(|event| Some(event.id) == last);
        let (known, new): (Vec<&Event>, Vec<&Event>) = match (place, last) {
            (Some(place), _) => {
                (events[..=place].iter().collect(), events[place + 1..].iter().collect())
            }
            (None, Some(last)) => events.iter().partition(|event| event.id <= last),
            (None, None) => (Vec::new(), events.iter().collect()),
        };
        for event in known {
            self.sent.note(event.id);
        }
        Ok(self.write(new))
    }

    fn write<'e>(&mut self, events: impl IntoIterator<Item = &'e Event>) -> Bytes {
        let mut writer = Writer::default();
        for event in events {
            if self.sent.note(event.id) {
                writer.push_event(event);
            }
        }
        writer.finish().bytes
    }

    /// What of the chunks wasn't sent yet, in one piece.
    fn pick(&mut self, chunks: &[Arc<Chunk>]) -> Bytes {
        let mut picked = BytesMut::new();
        for chunk in chunks {
            let new: Vec<bool> = chunk.marks.iter().map(|mark| self.sent.note(mark.id)).collect();
            let newest = chunk.marks.iter().zip(&new).rfind(|(_, new)| **new);
            if let (Source::Task(_), Some((newest, _))) = (self.source, newest) {
                self.has_ended = newest.is_terminal;
            }
            if new.iter().all(|new| *new) {
                if chunks.len() == 1 {
                    return chunk.bytes.clone();
                }
                picked.extend_from_slice(&chunk.bytes);
            } else {
                for (text, _) in chunk.texts().zip(new).filter(|(_, new)| *new) {
                    picked.extend_from_slice(text);
                }
            }
        }
        picked.freeze()
    }

    /// The stream as an answer.
    pub fn into_response(self) -> Response {
        const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
        let pieces = futures_util::stream::unfold(self, async |mut stream| {
            stream.next().await.map(|piece| (Ok::<_, Infallible>(piece), stream))
        });
        let mut response = Response::new(Body::from_stream(pieces));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
        response
    }
}
