//! Spans of messages: publish, process and settle.
//!
//! The process span is a child of the publish span. So a message carries the id of its
//! publish span, which is recorded later, when the broker has confirmed the message.
//! Messages of unsampled traces have no spans.
//!
//! <https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/>

use std::time::SystemTime;

use jiff::Timestamp;
use miniapp_runtime::clock::truncate_to_micros;
use miniapp_telemetry::trace::{
    CompletedSpan, PendingSpan, SpanHandle, SpanId, SpanKind, child_context, new_span_id, now,
};
use uuid::Uuid;

use crate::destination::Destination;
use crate::{BrokerError, Delivery, Message};

/// The `messaging.system` with routing keys and delivery tags.
pub(crate) const RABBITMQ: &str = "rabbitmq";

/// The attributes that identify a message in its spans.
#[derive(Clone, Copy, Debug)]
struct Subject {
    system: &'static str,
    destination: Destination,
    id: Uuid,
    conversation: Option<Uuid>,
}

impl Subject {
    fn of(system: &'static str, destination: Destination, message: &Message) -> Self {
        Self { system, destination, id: message.id, conversation: message.conversation }
    }

    /// Adds the attributes of every operation on the message.
    fn describe(
        self,
        span: CompletedSpan,
        operation: &'static str,
        operation_type: &'static str,
    ) -> CompletedSpan {
        let name = if operation_type == "send" {
            self.destination.published()
        } else {
            self.destination.consumed()
        };
        let key = self.destination.key().filter(|_| self.system == RABBITMQ);
        span.with_attribute("messaging.system", self.system)
            .with_attribute("messaging.operation.name", operation)
            .with_attribute("messaging.operation.type", operation_type)
            .with_attribute("messaging.destination.name", name)
            .with_optional_attribute("messaging.rabbitmq.destination.routing_key", key)
            .with_attribute("messaging.message.id", self.id.to_string())
            .with_optional_attribute(
                "messaging.message.conversation_id",
                self.conversation.map(|id| id.to_string()),
            )
    }
}

/// The span of publishing a message.
#[must_use = "the span is recorded when it ends"]
#[derive(Debug)]
pub struct PublishSpan {
    parent: SpanHandle,
    id: SpanId,
    started_at: SystemTime,
    subject: Subject,
    _pending: PendingSpan,
}

impl PublishSpan {
    /// Starts a span below the message's trace context and makes it the new context of the
    /// message. Returns `None` and leaves the message unchanged if the trace is not sampled.
    pub fn start(
        system: &'static str,
        destination: impl Into<Destination>,
        message: &mut Message,
    ) -> Option<Self> {
        let parent = SpanHandle::from_context(&message.trace)?;
        let (id, started_at) = (new_span_id(), now());
        message.trace = child_context(&message.trace, id);
        // With the precision of the message header, so that "wait in queue" does not start before
        // this span.
        message.published_at = Timestamp::try_from(started_at).ok().map(truncate_to_micros);
        let started_at = message.published_at.map_or(started_at, Into::into);
        let subject = Subject::of(system, destination.into(), message);
        Some(Self { _pending: parent.pending_span(), parent, id, started_at, subject })
    }

    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// Returns the span that caused the message.
    pub fn parent(&self) -> &SpanHandle {
        &self.parent
    }

    /// Records the span with the result of publishing. `describe` adds attributes.
    pub fn end(
        self,
        result: &Result<(), BrokerError>,
        describe: impl FnOnce(CompletedSpan) -> CompletedSpan,
    ) {
        let Self { parent, id, started_at, subject, .. } = &self;
        let name = format!("publish {}", subject.destination.published());
        let span =
            CompletedSpan::new(name, SpanKind::Producer, parent, *started_at, now()).with_id(*id);
        let span = describe(subject.describe(span, "publish", "send"));
        match result {
            Ok(()) => span,
            Err(BrokerError::Unavailable(_)) => span.with_error("unavailable"),
            Err(BrokerError::Refused(_)) => span.with_error("refused"),
        }
        .record();
    }
}

/// The span of processing a message.
#[must_use = "the span is recorded when it ends"]
#[derive(Debug)]
pub struct ProcessSpan {
    /// The `service.name` of the span.
    service: &'static str,
    publish_span: SpanHandle,
    id: SpanId,
    published_at: Option<SystemTime>,
    delivered_at: SystemTime,
    subject: Subject,
    tag: Option<u64>,
    _pending: PendingSpan,
}

impl ProcessSpan {
    /// Starts the span of a message that was just received. Returns `None` if its trace is
    /// not sampled.
    pub fn start(
        service: &'static str,
        system: &'static str,
        destination: impl Into<Destination>,
        message: &Message,
    ) -> Option<Self> {
        let publish_span = SpanHandle::from_context(&message.trace)?;
        Some(Self {
            service,
            id: new_span_id(),
            published_at: message.published_at.map(Into::into),
            delivered_at: now(),
            subject: Subject::of(system, destination.into(), message),
            tag: None,
            _pending: publish_span.pending_span(),
            publish_span,
        })
    }

    /// Starts the span of a delivery, with its delivery tag.
    pub fn of_delivery(
        service: &'static str,
        system: &'static str,
        destination: impl Into<Destination>,
        delivery: &Delivery,
    ) -> Option<Self> {
        let span = Self::start(service, system, destination, &delivery.message)?;
        Some(Self { tag: delivery.tag, delivered_at: delivery.delivered_at, ..span })
    }

    pub fn delivered_at(&self) -> SystemTime {
        self.delivered_at
    }

    /// Replaces the id of the span by one that others can derive. Must be called before a
    /// child is recorded.
    pub fn set_span_id(&mut self, id: SpanId) {
        self.id = id;
    }

    /// Returns the handle for children of the span.
    pub fn handle(&self) -> SpanHandle {
        self.publish_span.sibling(self.id)
    }

    /// Returns a child span that ends now.
    pub fn child(&self, name: &'static str, from: SystemTime) -> CompletedSpan {
        CompletedSpan::internal(name, &self.handle(), from, now()).with_service(self.service)
    }

    /// Returns the span of settling the message, which ends now.
    pub fn settle_span(&self, operation: &'static str, from: SystemTime) -> CompletedSpan {
        let name = format!("{operation} {}", self.subject.destination.consumed());
        let span = CompletedSpan::new(name, SpanKind::Client, &self.handle(), from, now());
        self.with_tag(self.subject.describe(span.with_service(self.service), operation, "settle"))
    }

    /// Records the span, and the time that the message waited in its queue. `describe` adds
    /// attributes.
    pub fn end(self, describe: impl FnOnce(CompletedSpan) -> CompletedSpan) {
        let Self { service, publish_span, delivered_at, subject, .. } = &self;
        let name = format!("process {}", subject.destination.consumed());
        let span = CompletedSpan::new(name, SpanKind::Consumer, publish_span, *delivered_at, now());
        let span =
            subject.describe(span.with_id(self.id).with_service(service), "process", "process");
        describe(self.with_tag(span)).record();
        if let Some(published_at) = self.published_at {
            // The clocks of two machines may disagree.
            let from = published_at.min(*delivered_at);
            CompletedSpan::internal("wait in queue", publish_span, from, *delivered_at)
                .with_service(service)
                .with_attribute("messaging.destination.name", subject.destination.consumed())
                .record();
        }
    }

    fn with_tag(&self, span: CompletedSpan) -> CompletedSpan {
        span.with_optional_attribute(
            "messaging.rabbitmq.message.delivery_tag",
            self.tag.map(u64::cast_signed),
        )
    }
}
