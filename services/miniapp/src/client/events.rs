//! Live events that survive a broken connection.

use std::collections::VecDeque;
use std::time::Duration;

use miniapp_types::task::Event;
use reqwest::header::ACCEPT;
use reqwest::{Method, Response};
use uuid::Uuid;

use super::patience::Patience;
use super::sse::SseParser;
use super::{ANSWER_LIMIT, Client, ClientError};

/// A stream that says nothing for this long, not even a sign of life, is dead.
const SILENCE_LIMIT: Duration = Duration::from_mins(1);

/// A stream of events. Where the connection breaks, it goes on after the last event
/// that was seen.
pub struct EventStream<'a> {
    client: &'a Client,
    path: String,
    /// Whether the stream ends by itself, with a terminal event.
    ends: bool,
    connection: Option<(Response, SseParser)>,
    pending: VecDeque<Event>,
    last: Option<Event>,
    patience: Patience,
}

impl Client {
    /// What happens to one task, from its start to its end.
    pub fn task_events(&self, id: Uuid) -> EventStream<'_> {
        EventStream::new(self, format!("api/tasks/{id}/events"), true)
    }

    /// What happens to all of the caller's tasks, from now on.
    pub fn all_events(&self) -> EventStream<'_> {
        EventStream::new(self, "api/events".to_owned(), false)
    }
}

impl<'a> EventStream<'a> {
    fn new(client: &'a Client, path: String, ends: bool) -> Self {
        let (pending, last) = (VecDeque::new(), None);
        Self { client, path, ends, connection: None, pending, last, patience: Patience::default() }
    }

    /// Connects now rather than with the first [`next`](Self::next), for callers that
    /// must not miss what they are about to cause.
    pub async fn connect(&mut self) -> Result<(), ClientError> {
        let mut request =
            self.client.api(Method::GET, &self.path).header(ACCEPT, "text/event-stream");
        if let Some(last) = &self.last {
            request = request.header("last-event-id", last.id.to_string());
        }
        let response = tokio::time::timeout(ANSWER_LIMIT, self.client.signed(request))
            .await
            .map_err(|_| ClientError::TimedOut(Box::new(self.client.endpoints.api.clone())))??;
        self.connection = Some((response, SseParser::default()));
        Ok(())
    }

    /// The next event; `None` once the task has ended and all was told.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.patience.restore();
                self.last = Some(event.clone());
                return Ok(Some(event));
            }
            match self.read().await {
                Ok(true) => {}
                Ok(false) => {
                    self.connection = None;
                    if self.ends && self.last.as_ref().is_some_and(|it| it.status.is_terminal()) {
                        return Ok(None);
                    }
                    self.patience.pause().await;
                }
                Err(error) => {
                    self.connection = None;
                    self.patience.bear(error).await?;
                }
            }
        }
    }

    /// Reads what the connection gives next; `false` at its end.
    async fn read(&mut self) -> Result<bool, ClientError> {
        if self.connection.is_none() {
            self.connect().await?;
        }
        let Some((response, parser)) = &mut self.connection else { return Ok(false) };
        let url = response.url().clone();
        let chunk = tokio::time::timeout(SILENCE_LIMIT, response.chunk())
            .await
            .map_err(|_| ClientError::TimedOut(Box::new(url.clone())))?
            .map_err(|error| ClientError::from_transport(&url, &error))?;
        let Some(chunk) = chunk else { return Ok(false) };
        for message in parser.feed(&chunk) {
            // A type of event that this version doesn't know is passed over.
            self.pending.extend(serde_json::from_str::<Event>(&message.data));
        }
        Ok(true)
    }
}
