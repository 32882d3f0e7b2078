//! The in-process engine.

/// Queues and topics in this process memory.
#[derive(Default)]
pub struct MemoryBroker;
