//! Tests of the accounts service and its stores.

mod conformance;
mod disabled;
mod enumeration;
mod names;
mod outbox;
mod previous_release;
mod refreshes;
mod replicas;
mod rotation;
mod smtp;
mod support;
