//! What every engine of a port has to do, as tests that don't know the engine.

pub mod accounts;
pub mod broker;
pub mod tasks;
