use std::sync::Arc;

use broker::Broker;
use testkit::conformance::broker::check;

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_is_a_broker() {
    let Some((server, _access)) = crate::shared().await else { return };
    let open = async || broker::open(&server.host().await.unwrap()).unwrap();
    check(async || open().await as Arc<dyn Broker>).await;
}
