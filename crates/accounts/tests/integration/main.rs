//! Tests of the accounts service and its stores.

mod conformance;
mod enumeration;
mod names;
mod outbox;
mod replicas;
mod rotation;
mod smtp;
mod support;
