//! What a trace shows of messages.
//!
//! A message that goes out is a span, and that span is the parent of what its consumer
//! makes of it. So the message carries the id of a span that is recorded only when the
//! broker has confirmed it. Where the trace isn't recorded, nothing of this is made.
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

/// The system that has keys and delivery tags.
pub(crate) const RABBITMQ: &str = "rabbitmq";

/// A message's names in a trace.
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

    /// Says what is known of every operation with the message.
    fn described(
        self,
        span: CompletedSpan,
        operation: &'static str,
        of_type: &'static str,
    ) -> CompletedSpan {
        let name = if of_type == "send" {
            self.destination.published()
        } else {
            self.destination.consumed()
        };
        let key = self.destination.key().filter(|_| self.system == RABBITMQ);
        span.with_attribute("messaging.system", self.system)
            .with_attribute("messaging.operation.name", operation)
            .with_attribute("messaging.operation.type", of_type)
            .with_attribute("messaging.destination.name", name)
            .with_optional_attribute("messaging.rabbitmq.destination.routing_key", key)
            .with_attribute("messaging.message.id", self.id)
            .with_optional_attribute("messaging.message.conversation_id", self.conversation)
    }
}

/// A message on its way to the broker.
#[must_use = "the span is recorded when it ends"]
#[derive(Debug)]
pub struct PublishSpan {
    parent: SpanHandle,
    id: SpanId,
    from: SystemTime,
    subject: Subject,
    _pending: PendingSpan,
}

impl PublishSpan {
    /// Begins with a message that is in the trace of what causes it, and goes on with it in
    /// that of its publishing. `None`, and the message as it is, where that isn't recorded.
    pub fn start(
        system: &'static str,
        destination: impl Into<Destination>,
        message: &mut Message,
    ) -> Option<Self> {
        let parent = SpanHandle::from_context(&message.trace)?;
        let (id, from) = (new_span_id(), now());
        message.trace = child_context(&message.trace, id);
        // As exactly as it is sent, lest the wait that follows begin earlier.
        message.published_at = Timestamp::try_from(from).ok().map(truncate_to_micros);
        let from = message.published_at.map_or(from, Into::into);
        let subject = Subject::of(system, destination.into(), message);
        Some(Self { _pending: parent.pending_span(), parent, id, from, subject })
    }

    /// When it began.
    pub fn started_at(&self) -> SystemTime {
        self.from
    }

    /// What caused it.
    pub fn parent(&self) -> &SpanHandle {
        &self.parent
    }

    /// The broker has answered. `describe` adds what its publisher knows.
    pub fn end(
        self,
        answer: &Result<(), BrokerError>,
        describe: impl FnOnce(CompletedSpan) -> CompletedSpan,
    ) {
        let Self { parent, id, from, subject, .. } = &self;
        let name = format!("publish {}", subject.destination.published());
        let span = CompletedSpan::new(&name, SpanKind::Producer, parent, *from, now()).with_id(*id);
        let span = describe(subject.described(span, "publish", "send"));
        match answer {
            Ok(()) => span,
            Err(BrokerError::Unavailable(_)) => span.with_error("unavailable"),
            Err(BrokerError::Refused(_)) => span.with_error("refused"),
        }
        .record();
    }
}

/// A message in a consumer's hands.
#[must_use = "the span is recorded when it ends"]
#[derive(Debug)]
pub struct ProcessSpan {
    /// Whose part of the process it is.
    service: &'static str,
    publishing: SpanHandle,
    id: SpanId,
    published_at: Option<SystemTime>,
    delivered_at: SystemTime,
    subject: Subject,
    tag: Option<u64>,
    _pending: PendingSpan,
}

impl ProcessSpan {
    /// Begins with a message that has just come. `None` where its trace isn't recorded.
    pub fn start(
        service: &'static str,
        system: &'static str,
        destination: impl Into<Destination>,
        message: &Message,
    ) -> Option<Self> {
        let publishing = SpanHandle::from_context(&message.trace)?;
        Some(Self {
            service,
            id: new_span_id(),
            published_at: message.published_at.map(Into::into),
            delivered_at: now(),
            subject: Subject::of(system, destination.into(), message),
            tag: None,
            _pending: publishing.pending_span(),
            publishing,
        })
    }

    /// The same with a delivery, which has a number of its own.
    pub fn of_delivery(
        service: &'static str,
        system: &'static str,
        destination: impl Into<Destination>,
        delivery: &Delivery,
    ) -> Option<Self> {
        let begun = Self::start(service, system, destination, &delivery.message)?;
        Some(Self { tag: delivery.tag, ..begun })
    }

    /// When the message came.
    pub fn delivered_at(&self) -> SystemTime {
        self.delivered_at
    }

    /// Gives the span an id that others know. Nothing may have been recorded below it.
    pub fn set_span_id(&mut self, id: SpanId) {
        self.id = id;
    }

    /// The span, as the parent of what belongs to it.
    pub fn handle(&self) -> SpanHandle {
        self.publishing.sibling(self.id)
    }

    /// A span below it, of something that ended now.
    pub fn child(&self, name: &str, from: SystemTime) -> CompletedSpan {
        CompletedSpan::internal(name, &self.handle(), from, now()).with_service(self.service)
    }

    /// The span of telling the broker what became of the message, which ended now.
    pub fn settle_span(&self, operation: &'static str, from: SystemTime) -> CompletedSpan {
        let name = format!("{operation} {}", self.subject.destination.consumed());
        let span = CompletedSpan::new(&name, SpanKind::Client, &self.handle(), from, now());
        self.tagged(self.subject.described(span.with_service(self.service), operation, "settle"))
    }

    /// All is done. `describe` adds what the consumer knows.
    pub fn end(self, describe: impl FnOnce(CompletedSpan) -> CompletedSpan) {
        let Self { service, publishing, delivered_at, subject, .. } = &self;
        let name = format!("process {}", subject.destination.consumed());
        let span = CompletedSpan::new(&name, SpanKind::Consumer, publishing, *delivered_at, now());
        let span =
            subject.described(span.with_id(self.id).with_service(*service), "process", "process");
        describe(self.tagged(span)).record();
        if let Some(published_at) = self.published_at {
            // By the clocks of two machines it may have come before it went.
            let from = published_at.min(*delivered_at);
            CompletedSpan::internal("wait in queue", publishing, from, *delivered_at)
                .with_service(*service)
                .with_attribute("messaging.destination.name", subject.destination.consumed())
                .record();
        }
    }

    fn tagged(&self, span: CompletedSpan) -> CompletedSpan {
        span.with_optional_attribute(
            "messaging.rabbitmq.message.delivery_tag",
            self.tag.map(u64::cast_signed),
        )
    }
}
