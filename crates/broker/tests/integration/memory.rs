//! The in-process broker passes the conformance suite.

use std::sync::Arc;

use miniapp_broker::{Broker, MemoryBroker};

async fn memory(case: impl AsyncFnOnce(Arc<dyn Broker>)) {
    case(Arc::new(MemoryBroker::new())).await;
}

miniapp_test_support::broker_tests!(memory);
