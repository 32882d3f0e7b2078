use std::sync::Arc;

use miniapp_broker::Broker;
use miniapp_test_support::conformance::broker::check;

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_is_a_broker() {
    let Some((server, _access)) = crate::shared().await else { return };
    let open = async || miniapp_broker::open(&server.host().await.unwrap()).unwrap();
    check(async || open().await as Arc<dyn Broker>).await;
}
