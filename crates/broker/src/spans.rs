//! What a trace shows of messages.
//!
//! A message that goes out is a span, and that span is the parent of what its consumer
//! makes of it. So the message carries the id of a span that is recorded only when the
//! broker has confirmed it. Where the trace isn't recorded, nothing of this is made.
//!
//! <https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/>

use std::time::SystemTime;

use jiff::Timestamp;
use miniapp_runtime::clock::truncated;
use miniapp_telemetry::Service;
use miniapp_telemetry::trace::{
    Open, Parent, Past, SpanId, SpanKind, context_below, new_span_id, now,
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
    fn described(self, past: Past, operation: &'static str, of_type: &'static str) -> Past {
        let name = if of_type == "send" {
            self.destination.published()
        } else {
            self.destination.consumed()
        };
        let key = self.destination.key().filter(|_| self.system == RABBITMQ);
        past.with("messaging.system", self.system)
            .with("messaging.operation.name", operation)
            .with("messaging.operation.type", of_type)
            .with("messaging.destination.name", name)
            .with_some("messaging.rabbitmq.destination.routing_key", key)
            .with("messaging.message.id", self.id)
            .with_some("messaging.message.conversation_id", self.conversation)
    }
}

/// A message on its way to the broker.
#[must_use = "the span is recorded when it ends"]
#[derive(Debug)]
pub struct Publishing {
    parent: Parent,
    id: SpanId,
    from: SystemTime,
    subject: Subject,
    _open: Open,
}

impl Publishing {
    /// Begins with a message that is in the trace of what causes it, and goes on with it in
    /// that of its publishing. `None`, and the message as it is, where that isn't recorded.
    pub fn begin(
        system: &'static str,
        destination: impl Into<Destination>,
        message: &mut Message,
    ) -> Option<Self> {
        let parent = Parent::of(&message.trace)?;
        let (id, from) = (new_span_id(), now());
        message.trace = context_below(&message.trace, id);
        // As exactly as it is sent, lest the wait that follows begin earlier.
        message.published_at = Timestamp::try_from(from).ok().map(truncated);
        let from = message.published_at.map_or(from, Into::into);
        let subject = Subject::of(system, destination.into(), message);
        Some(Self { _open: parent.open(), parent, id, from, subject })
    }

    /// When it began.
    pub fn from(&self) -> SystemTime {
        self.from
    }

    /// What caused it.
    pub fn parent(&self) -> &Parent {
        &self.parent
    }

    /// The broker has answered. `describe` adds what its publisher knows.
    pub fn end(self, answer: &Result<(), BrokerError>, describe: impl FnOnce(Past) -> Past) {
        let Self { parent, id, from, subject, .. } = &self;
        let name = format!("publish {}", subject.destination.published());
        let past = Past::new(&name, SpanKind::Producer, parent, *from, now()).with_id(*id);
        let past = describe(subject.described(past, "publish", "send"));
        match answer {
            Ok(()) => past,
            Err(BrokerError::Unavailable(_)) => past.failed("unavailable"),
            Err(BrokerError::Refused(_)) => past.failed("refused"),
        }
        .record();
    }
}

/// A message in a consumer's hands.
#[must_use = "the span is recorded when it ends"]
#[derive(Debug)]
pub struct Processing {
    /// Whose part of the process it is.
    service: Service,
    publishing: Parent,
    id: SpanId,
    published_at: Option<SystemTime>,
    delivered_at: SystemTime,
    subject: Subject,
    tag: Option<u64>,
    _open: Open,
}

impl Processing {
    /// Begins with a message that has just come. `None` where its trace isn't recorded.
    pub fn begin(
        service: Service,
        system: &'static str,
        destination: impl Into<Destination>,
        message: &Message,
    ) -> Option<Self> {
        let publishing = Parent::of(&message.trace)?;
        Some(Self {
            service,
            id: new_span_id(),
            published_at: message.published_at.map(Into::into),
            delivered_at: now(),
            subject: Subject::of(system, destination.into(), message),
            tag: None,
            _open: publishing.open(),
            publishing,
        })
    }

    /// The same with a delivery, which has a number of its own.
    pub fn of(
        service: Service,
        system: &'static str,
        destination: impl Into<Destination>,
        delivery: &Delivery,
    ) -> Option<Self> {
        let begun = Self::begin(service, system, destination, &delivery.message)?;
        Some(Self { tag: delivery.tag, ..begun })
    }

    /// When the message came.
    pub fn delivered_at(&self) -> SystemTime {
        self.delivered_at
    }

    /// Gives the span an id that others know. Nothing may have been recorded below it.
    pub fn identify(&mut self, id: SpanId) {
        self.id = id;
    }

    /// The span, as the parent of what belongs to it.
    pub fn as_parent(&self) -> Parent {
        self.publishing.beside(self.id)
    }

    /// A span below it, of something that ended now.
    pub fn step(&self, name: &str, from: SystemTime) -> Past {
        Past::internal(name, &self.as_parent(), from, now()).of(self.service)
    }

    /// The span of telling the broker what became of the message, which ended now.
    pub fn settled(&self, operation: &'static str, from: SystemTime) -> Past {
        let name = format!("{operation} {}", self.subject.destination.consumed());
        let past = Past::new(&name, SpanKind::Client, &self.as_parent(), from, now());
        self.tagged(self.subject.described(past.of(self.service), operation, "settle"))
    }

    /// All is done. `describe` adds what the consumer knows.
    pub fn end(self, describe: impl FnOnce(Past) -> Past) {
        let Self { service, publishing, delivered_at, subject, .. } = &self;
        let name = format!("process {}", subject.destination.consumed());
        let past = Past::new(&name, SpanKind::Consumer, publishing, *delivered_at, now());
        let past = subject.described(past.with_id(self.id).of(*service), "process", "process");
        describe(self.tagged(past)).record();
        if let Some(published_at) = self.published_at {
            // By the clocks of two machines it may have come before it went.
            let from = published_at.min(*delivered_at);
            Past::internal("wait in queue", publishing, from, *delivered_at)
                .of(*service)
                .with("messaging.destination.name", subject.destination.consumed())
                .record();
        }
    }

    fn tagged(&self, past: Past) -> Past {
        past.with_some("messaging.rabbitmq.message.delivery_tag", self.tag.map(u64::cast_signed))
    }
}
