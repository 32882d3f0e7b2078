//! The in-process engine does what every broker has to do.

use std::sync::Arc;

use miniapp_broker::{Broker, MemoryBroker};
use miniapp_test_support::conformance::broker::check;

#[tokio::test]
async fn the_in_process_engine_is_a_broker() {
    check(async || Arc::new(MemoryBroker::new()) as Arc<dyn Broker>).await;
}
