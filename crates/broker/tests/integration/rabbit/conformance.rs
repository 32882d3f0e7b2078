//! The RabbitMQ broker passes the conformance suite.

use std::sync::Arc;

use miniapp_broker::Broker;

async fn rabbit(case: impl AsyncFnOnce(Arc<dyn Broker>)) {
    let (server, _access) = crate::rabbit::shared().await;
    case(miniapp_broker::open(&server.host().await.unwrap()).unwrap()).await;
}

miniapp_test_support::broker_tests!(
    #[ignore = "needs RabbitMQ"]
    rabbit
);
