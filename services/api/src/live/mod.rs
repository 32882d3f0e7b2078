//! Live events, from the broker to SSE streams.
//!
//! A process subscribes to task events once and fans them out to the streams of their
//! owners. An event is encoded once for all streams. The store remains the source of truth:
//! a stream starts with the events from the store, and reads it again after a gap or when it
//! has fallen behind. [`DeliveredEvents`](delivered::DeliveredEvents) removes duplicates.

mod delivered;
mod hub;
mod replay;
mod slots;
mod sse;
mod stream;
mod subscriber;
#[cfg(test)]
mod tests;

pub(crate) use slots::StreamSlot;
pub use stream::LiveEvents;
pub(crate) use stream::{Source, Stream};
