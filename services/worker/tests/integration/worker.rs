//! A worker with a real store and an in-process broker.

mod kinds;
mod platform;
mod running;
mod stopping;
mod trouble;
