//! Tests of the task protocol and its engines.

mod conformance;
mod machine;
mod postgres;
mod protocol;
mod rules;
