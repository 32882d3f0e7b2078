//! Tests of the accounts service and its stores.

mod alike;
mod conformance;
mod outbox;
mod replicas;
mod smtp;
mod support;
