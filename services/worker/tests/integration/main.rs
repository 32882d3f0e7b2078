//! Tests of the worker: on real stores, and in a deterministic simulation.

mod simulation;
mod worker;
