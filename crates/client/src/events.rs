//! Live events over SSE, resumed after a broken connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use backon::{BackoffBuilder as _, ExponentialBackoff};
use eventsource_stream::{EventStreamError, Eventsource as _};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use miniapp_types::task::Event;
use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode, Url};
use uuid::Uuid;

use crate::client::RESPONSE_TIMEOUT;
use crate::retry::{MAX_DELAY, backoff};
use crate::{Client, Error};

/// A stream of task events.
///
/// After a broken connection it reconnects with `Last-Event-ID`, so that no event is lost
/// or repeated. It fails with an error that is not
/// [transient](Error::is_transient), or that has persisted for about half a minute.
pub struct EventStream(BoxStream<'static, Result<Event, Error>>);

impl Client {
    /// Watches a task: all its events so far, then live ones. The stream ends after the
    /// event that ends the task.
    pub fn watch(&self, id: Uuid) -> EventStream {
        Subscription::new(self.clone(), format!("api/tasks/{id}/events"), true).into_stream()
    }

    /// Watches all tasks of the caller, without end.
    ///
    /// The subscription is active when this returns: the stream has every event that is
    /// recorded afterwards.
    pub async fn watch_all(&self) -> Result<EventStream, Error> {
        let mut subscription = Subscription::new(self.clone(), "api/events".to_owned(), false);
        subscription.connect().await?;
        Ok(subscription.into_stream())
    }
}

impl Stream for EventStream {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

struct Subscription {
    client: Client,
    path: String,
    ends_with_task: bool,
    connection: Option<Connection>,
    last: Option<Event>,
    delays: ExponentialBackoff,
}

struct Connection {
    url: Url,
    messages: BoxStream<'static, Message>,
}

type Message = Result<eventsource_stream::Event, EventStreamError<reqwest::Error>>;

impl Subscription {
    fn new(client: Client, path: String, ends_with_task: bool) -> Self {
        let delays = backoff().build();
        Self { client, path, ends_with_task, connection: None, last: None, delays }
    }

    fn into_stream(self) -> EventStream {
        let events = stream::try_unfold(self, |mut subscription| async move {
            Ok(subscription.next().await?.map(|event| (event, subscription)))
        });
        EventStream(events.boxed())
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let mut request =
            self.client.api(Method::GET, &self.path).header(ACCEPT, "text/event-stream");
        if let Some(last) = &self.last {
            request = request.header("last-event-id", last.id.to_string());
        }
        // Not a timeout of the request, which would limit the whole stream.
        let response =
            tokio::time::timeout(RESPONSE_TIMEOUT, self.client.send_authenticated(request))
                .await
                .map_err(|_| Error::Timeout(Box::new(self.client.api_url().clone())))??;
        let url = response.url().clone();
        let messages = response.bytes_stream().eventsource().boxed();
        self.connection = Some(Connection { url, messages });
        Ok(())
    }

    /// Returns the next event; `None` after the end of the task.
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let delay = match self.receive().await {
                Ok(Some(event)) => {
                    self.delays = backoff().build();
                    self.last = Some(event.clone());
                    return Ok(Some(event));
                }
                Ok(None) if self.is_complete() => return Ok(None),
                // A server that shuts down ends its streams; another one takes over.
                Ok(None) => self.delays.next().unwrap_or(MAX_DELAY),
                Err(error) if error.is_transient() => match self.delays.next() {
                    Some(delay) => delay,
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            };
            self.connection = None;
            tokio::time::sleep(delay).await;
        }
    }

    fn is_complete(&self) -> bool {
        self.ends_with_task && self.last.as_ref().is_some_and(|event| event.status.is_terminal())
    }

    /// Returns the next event of the connection; `None` at its end.
    async fn receive(&mut self) -> Result<Option<Event>, Error> {
        if self.connection.is_none() {
            self.connect().await?;
        }
        let Some(Connection { url, messages }) = &mut self.connection else { return Ok(None) };
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| match error {
                EventStreamError::Transport(error) => Error::from_transport(url, error),
                EventStreamError::Utf8(_) | EventStreamError::Parser(_) => {
                    Error::unexpected(url, StatusCode::OK)
                }
            })?;
            // Skips event types of newer servers.
            if let Ok(event) = serde_json::from_str(&message.data) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}
