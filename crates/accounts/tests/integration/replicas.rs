//! Several processes with one store.

use std::time::Duration;

use miniapp_accounts::{GrantError, grant_admin};
use miniapp_types::account::{Role, Secret};
use miniapp_types::problem::Code;

use crate::support::{PASSWORD, Platform, caller};

#[tokio::test]
async fn replicas_share_keys_sessions_and_codes() {
    let platform = Platform::new().await;
    platform.register("ada").await;
    let other = platform.replica(&[]).await.expect("a replica");
    assert_eq!(other.jwks().await, platform.accounts.jwks().await);
    let password = Secret::new(PASSWORD);
    let tokens = other.sign_in("ada", &password, "cli", &caller()).await.expect("signed in");
    let token = tokens.auth_token.expose();
    assert!(platform.accounts.authenticate(token).await.is_ok());
    let next = platform.accounts.refresh(&tokens.refresh_token, &caller()).await;
    assert!(next.is_ok());
    let revoked = other.authenticate(token).await.expect_err("revoked");
    assert_eq!(revoked.code(), Some(Code::TokenRevoked));
}

#[tokio::test]
async fn replicas_agree_on_the_next_key() {
    let platform = Platform::new().await;
    let other = platform.replica(&[]).await.expect("a replica");
    platform.clock.advance(Duration::from_hours(24 * 30));
    let (one, two) = tokio::join!(platform.accounts.maintain_keys(), other.maintain_keys());
    one.and(two).expect("keys");
    let (keys, others) = (platform.accounts.jwks().await, other.jwks().await);
    assert_eq!(keys.keys.len(), 2);
    assert_eq!(others.keys.len(), 2);
    assert!(keys.keys.iter().all(|key| others.keys.contains(key)));
}

#[tokio::test]
async fn different_secret_is_rejected_with_one_line() {
    let platform = Platform::new().await;
    let secret = [("MINIAPP__AUTH__SECRET", "u2Yk0mXW1oQ7sZr3Tn5Vb8Lc4Jd6Hg9F")];
    let error = platform.replica(&secret).await.expect_err("another secret").to_string();
    assert!(error.contains("MINIAPP__AUTH__SECRET") && error.lines().count() == 1, "{error}");
}

#[tokio::test]
async fn grant_admin_works_on_the_database() {
    let platform = Platform::new().await;
    platform.register("ada").await;
    let before = platform.owner("ada").await;
    let grant = async |login| {
        grant_admin(&platform.config, &*platform.store, &*platform.clock, login).await
    };
    for login in ["ADA", "ada@example.com"] {
        let account = grant(login).await.expect("granted");
        assert_eq!(account.roles, [Role::User, Role::Admin]);
    }
    assert!(matches!(grant("bob").await, Err(GrantError::NotFound(_))));
    let session = platform.store.session(before.session).await.expect("a store");
    assert_eq!(session.map(|(session, _)| session.epoch), Some(2));
    // The running service publishes it.
    assert_eq!(platform.run_once().await, 1);
}
