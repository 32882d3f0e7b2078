//! Tests of a worker with a real store and an in-process broker.

mod clocks;
mod isolation;
mod kinds;
mod offers;
mod outages;
mod platform;
mod queues;
mod running;
mod steps;
mod stopping;
