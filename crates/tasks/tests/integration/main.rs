//! Tests of the task protocol and its engines.

mod conformance;
mod invariants;
mod machine;
mod postgres;
mod protocol;
