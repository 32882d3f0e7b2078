//! Sending what is known about the process to a collector, by OTLP.

mod client;
mod target;

pub(crate) use client::Client;
pub(crate) use target::{Signal, Target};
