//! Every API learns at once which tokens are valid, also without the broker or auth.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use miniapp_test_support::http::Answer;
use miniapp_test_support::platform::User;
use miniapp_types::problem::Code;
use tokio::time::sleep;

use crate::separate::support::{alone, new_user, shared};

/// Every API rejects a revoked token within this time if the broker works.
const WITH_BROKER: Duration = Duration::from_millis(100);
/// The same without the broker.
const WITHOUT_BROKER: Duration = Duration::from_secs(1);

/// The response of the API to the user's token.
async fn rejection_code(user: &User) -> Option<Code> {
    let answer = Answer::to(user.api("GET", "/api/tasks?limit=1")).await;
    (answer.status != 200).then(|| answer.problem().code)
}

/// Signs out. Returns the time from the response until every API rejects the token.
async fn sign_out(everywhere: &[User]) -> Duration {
    Answer::to(everywhere[0].auth("POST", "/sign-out")).await.expect(204);
    let since = Instant::now();
    let refused = everywhere.iter().map(async |user| {
        while rejection_code(user).await.is_none() {
            assert!(since.elapsed() < 10 * WITHOUT_BROKER, "a revoked token is still accepted");
        }
        assert_eq!(rejection_code(user).await, Some(Code::TokenRevoked));
    });
    join_all(refused).await;
    since.elapsed()
}

/// Uses the token at every API.
async fn expect_accepted(everywhere: &[User]) {
    for user in everywhere {
        assert_eq!(rejection_code(user).await, None);
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn revocation_reaches_every_api_at_once() {
    let broker = shared().await;
    let platform = broker.platform().await;
    let mut everywhere = new_user(&platform).await;
    let mut took = Vec::new();
    for _ in 0..10 {
        expect_accepted(&everywhere).await;
        took.push(sign_out(&everywhere).await);
        everywhere[0].sign_in().await;
        everywhere = platform.everywhere(&everywhere[0]);
    }
    took.sort();
    // Other tests may use the CPU.
    assert!(took[7] < WITH_BROKER, "{took:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn revocation_works_without_broker() {
    let broker = alone().await;
    let platform = broker.platform().await;
    let mut everywhere = new_user(&platform).await;
    expect_accepted(&everywhere).await;

    broker.server.stop().await.expect("its end");
    let took = sign_out(&everywhere).await;
    assert!(took < WITHOUT_BROKER, "{took:?}");
    let began = Instant::now();
    everywhere[0].sign_in().await;
    assert!(began.elapsed() < 2 * WITHOUT_BROKER, "signing in waits for the broker");
    everywhere = platform.everywhere(&everywhere[0]);
    expect_accepted(&everywhere).await;
    broker.server.resume().await.expect("its return");
    expect_accepted(&everywhere).await;

    // The connection stays open but silent, so no API notices that events are missing.
    broker.server.freeze().expect("a process");
    let took = sign_out(&everywhere).await;
    broker.server.thaw().expect("a process");
    assert!(took < WITHOUT_BROKER, "{took:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and RabbitMQ"]
async fn tokens_are_verified_without_auth() {
    let broker = shared().await;
    let mut platform = broker.platform().await;
    let everywhere = new_user(&platform).await;
    expect_accepted(&everywhere).await;
    platform.auth.kill().await;
    let began = Instant::now();
    while began.elapsed() < 3 * WITHOUT_BROKER {
        expect_accepted(&everywhere).await;
        sleep(Duration::from_millis(50)).await;
    }
    platform.auth.start_again().await;
    expect_accepted(&everywhere).await;
    let took = sign_out(&everywhere).await;
    assert!(took < WITHOUT_BROKER, "{took:?}");
}
