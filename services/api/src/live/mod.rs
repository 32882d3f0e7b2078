//! Live events: from the broker to everyone who watches.
//!
//! A process listens to the news of tasks once and hands each event to the streams of its
//! owner, written once for all of them. The store stays the truth: a stream begins with
//! what the store tells, and reads it again whenever news may have been missed or the
//! stream fell behind. Every event passes [`Sent`](sent::Sent), so that none comes twice.

mod chunk;
mod hub;
mod mailbox;
mod sent;
mod stream;
#[cfg(test)]
mod tests;

pub use hub::Hub;
pub(crate) use stream::{Source, Stream};
