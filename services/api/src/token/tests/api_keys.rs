//! API keys: lookups, caches, revocation and limits.

use std::net::{IpAddr, Ipv4Addr};

use miniapp_token::generate_api_key;
use miniapp_types::account::Scope;

use super::*;

const CLIENT: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
const OTHER_CLIENT: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));

fn unknown_key() -> String {
    generate_api_key().expect("random bits").expose().to_owned()
}

/// Repeats `check` until it takes this number of lookups. A process that stalls for a second looks
/// up a key again, because it may have missed a broadcast.
async fn takes_lookups(world: &World, expected: usize, mut check: impl AsyncFnMut()) {
    for _ in 0..10 {
        let before = world.auth.validations();
        check().await;
        if world.auth.validations() - before == expected {
            return;
        }
    }
    panic!("never {expected} lookups");
}

#[tokio::test]
async fn key_is_looked_up_once() {
    let world = World::new().await;
    let check = async || {
        let key = world.auth.create_key(&["user"], &["tasks:read", "worker"]);
        for _ in 0..100 {
            let principal = world.verifier.verify_api_key(&key.text, CLIENT).await.expect("valid");
            assert_eq!(principal.user_id, key.user);
            assert_eq!(principal.credential, Credential::ApiKey(key.session));
            assert!(principal.require(Scope::TasksRead).is_ok());
            assert!(principal.require(Scope::TasksWrite).is_err());
            assert!(principal.require(Scope::Worker).is_err(), "its owner is no admin");
        }
    };
    takes_lookups(&world, 1, check).await;
}

#[tokio::test]
async fn key_without_checksum_is_rejected_without_lookup() {
    let world = World::new().await;
    let key = world.auth.create_key(&["user"], &["tasks:read"]);
    let verify = async |key: &str| world.verifier.verify_api_key(key, CLIENT).await.err();
    for position in 0..key.text.len() {
        let mut changed = key.text.clone();
        changed.replace_range(position..=position, "-");
        assert_eq!(verify(&changed).await, Some(VerifyError::Invalid), "{changed}");
    }
    for index in 0..10_000 {
        let random = format!("mak_{index:049}");
        assert_eq!(verify(&random).await, Some(VerifyError::Invalid), "{random}");
    }
    for text in ["mak_", &"mak_x".repeat(2000), &key.text[1..], &key.text.to_uppercase()] {
        assert_eq!(verify(text).await, Some(VerifyError::Invalid), "{text}");
    }
    assert_eq!(world.auth.validations(), 0);
    assert_eq!(verify(&key.text).await, None);
}

#[tokio::test]
async fn unknown_key_is_looked_up_once() {
    let world = World::new().await;
    let unknown = unknown_key();
    for _ in 0..100 {
        let verified = world.verifier.verify_api_key(&unknown, CLIENT).await;
        assert_eq!(verified.err(), Some(VerifyError::Invalid));
    }
    assert_eq!(world.auth.validations(), 1);
}

#[tokio::test]
async fn unknown_keys_are_limited_by_client_network() {
    let world = World::new().await;
    let (known, new) = (
        world.auth.create_key(&["user"], &["tasks:read"]),
        world.auth.create_key(&["user"], &["tasks:read"]),
    );
    let verify = async |key: &str, client| world.verifier.verify_api_key(key, client).await.err();
    assert_eq!(verify(&known.text, CLIENT).await, None);
    let mut checks = JoinSet::new();
    for _ in 0..5000 {
        let verifier = world.verifier.clone();
        checks.spawn(async move { verifier.verify_api_key(&unknown_key(), CLIENT).await.err() });
    }
    let mut limited = 0;
    for error in checks.join_all().await {
        match error {
            // Auth may answer too slowly for the number of waiting requests.
            Some(VerifyError::Invalid | VerifyError::Unavailable) => {}
            Some(VerifyError::RateLimited(wait)) => {
                assert!(wait <= Duration::from_mins(1), "{wait:?}");
                limited += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(limited > 0, "not limited");
    assert!(world.auth.validations() < 5000, "{} lookups", world.auth.validations());
    assert_eq!(verify(&known.text, CLIENT).await, None, "a known key works");
    let works = async || verify(&new.text, OTHER_CLIENT).await.is_none();
    eventually("a new key of another network works", works).await;
}

#[tokio::test]
async fn concurrent_requests_share_a_lookup() {
    let world = World::new().await;
    let check = async || {
        let key = world.auth.create_key(&["user"], &["tasks:read"]);
        let before = world.auth.validations();
        world.auth.hold();
        let mut checks = JoinSet::new();
        for _ in 0..50 {
            let (verifier, text) = (world.verifier.clone(), key.text.clone());
            checks.spawn(async move { verifier.verify_api_key(&text, CLIENT).await.map(drop) });
        }
        eventually("the lookup runs", async || world.auth.validations() > before).await;
        world.auth.release();
        // A stalled process may give up the lookup.
        let results = checks.join_all().await;
        let is_expected = |it: &_| matches!(it, Ok(()) | Err(VerifyError::Unavailable));
        assert!(results.iter().all(is_expected), "{results:?}");
    };
    takes_lookups(&world, 1, check).await;
}

#[tokio::test]
async fn revoked_key_is_rejected() {
    let world = World::new().await;
    // The broadcast is enough.
    let check = async || {
        let key = world.auth.create_key(&["user"], &["tasks:read"]);
        assert_eq!(world.key_error(&key).await, None);
        world.auth.revoke_key(&key).await;
        world.wait_for_key(&key, Some(VerifyError::Revoked)).await;
    };
    takes_lookups(&world, 1, check).await;
    let unseen = world.auth.create_key(&["user"], &["tasks:read"]);
    world.auth.revoke_key(&unseen).await;
    assert_eq!(world.key_error(&unseen).await, Some(VerifyError::Revoked));
    // Without the broker.
    let silent = world.auth.create_key(&["user"], &["tasks:read"]);
    assert_eq!(world.key_error(&silent).await, None);
    world.broker.pause();
    world.auth.revoke_key_silently(&silent);
    world.wait_for_key(&silent, Some(VerifyError::Revoked)).await;
}

#[tokio::test]
async fn late_lookup_does_not_undo_a_broadcast() {
    let world = World::new().await;
    let (key, other) = (
        world.auth.create_key(&["user"], &["tasks:read"]),
        world.auth.create_key(&["user"], &["tasks:read"]),
    );
    world.auth.hold();
    let checking = tokio::spawn({
        let (verifier, text) = (world.verifier.clone(), key.text.clone());
        async move { verifier.verify_api_key(&text, CLIENT).await.map(drop) }
    });
    eventually("the lookup runs", async || world.auth.validations() > 0).await;
    world.auth.revoke_key(&key).await;
    world.auth.revoke_key(&other).await;
    let has_ended = async || world.verifier.0.sessions.has_ended(other.session);
    eventually("the broadcasts are received", has_ended).await;
    world.auth.release();
    assert_eq!(checking.await.expect("no panic"), Err(VerifyError::Revoked));
    assert_eq!(world.key_error(&key).await, Some(VerifyError::Revoked));
}

#[tokio::test]
async fn change_of_roles_is_noticed() {
    let world = World::new().await;
    let check = async || {
        let key = world.auth.create_key(&["user", "admin"], &["worker", "admin:read"]);
        let principal = world.verifier.verify_api_key(&key.text, CLIENT).await.expect("valid");
        assert!(principal.require(Scope::Worker).is_ok() && principal.reads_all());
        world.auth.set_roles(&key, &["user"]).await;
        let is_demoted = async || {
            let verified = world.verifier.verify_api_key(&key.text, CLIENT).await.expect("valid");
            verified.require(Scope::Worker).is_err() && !verified.reads_all()
        };
        eventually("the role is gone", is_demoted).await;
        let again = world.verifier.revalidate(&principal).await.expect("valid");
        assert!(again.require_admin().is_err(), "a request that is on its way");
        world.auth.set_roles(&key, &["user", "admin"]).await;
        eventually("the role is back", async || !is_demoted().await).await;
    };
    takes_lookups(&world, 3, check).await;
}

#[tokio::test]
async fn expired_key_is_rejected() {
    let world = World::new().await;
    let check = async || {
        let keys =
            [(); 2].map(|()| world.auth.create_expiring_key(&["user"], &["tasks:read"], Some(60)));
        assert_eq!(world.key_error(&keys[0]).await, None);
        world.clock.advance(Duration::from_secs(59));
        assert_eq!(world.key_error(&keys[0]).await, None);
        world.clock.advance(Duration::from_secs(1));
        for key in &keys {
            for _ in 0..2 {
                assert_eq!(world.key_error(key).await, Some(VerifyError::Expired));
            }
        }
    };
    takes_lookups(&world, 2, check).await;
}

#[tokio::test]
async fn auth_outage_accepts_only_known_keys() {
    let world = World::new().await;
    let [known, unknown] = [(); 2].map(|()| world.auth.create_key(&["user"], &["tasks:read"]));
    assert_eq!(world.key_error(&known).await, None);
    world.auth.go_down();
    assert_eq!(world.key_error(&unknown).await, Some(VerifyError::Unavailable));
    assert_eq!(world.key_error(&known).await, None);
    world.broker.pause();
    let is_stale = || {
        let status = world.verifier.0.sessions.status_of(known.session, 1);
        matches!(status, TokenStatus::Stale(_))
    };
    eventually("the key is stale", async || is_stale()).await;
    assert_eq!(world.key_error(&known).await, None);
    world.auth.come_back();
    world.wait_for_key(&unknown, None).await;
    world.auth.revoke_key_silently(&known);
    world.wait_for_key(&known, Some(VerifyError::Revoked)).await;
}

/// Waits until the state of a key, if any, is current.
async fn wait_for_broadcasts(world: &World, key: &Token) {
    let is_current = async || {
        let status = world.verifier.0.sessions.status_of(key.session, key.epoch);
        matches!(status, TokenStatus::Valid | TokenStatus::Unknown)
    };
    eventually("broadcasts are received", is_current).await;
}

#[tokio::test]
async fn key_in_use_is_reported_once_a_minute() {
    let world = World::new().await;
    let check = async || {
        let key = world.auth.create_key(&["user"], &["tasks:read"]);
        let before = world.auth.validations();
        for reports in 1..=3 {
            wait_for_broadcasts(&world, &key).await;
            assert_eq!(world.key_error(&key).await, None);
            let is_reported = async || world.auth.validations() >= before + reports;
            eventually("the use is reported", is_reported).await;
            for _ in 0..10 {
                assert_eq!(world.key_error(&key).await, None);
            }
            crate::testing::skip(Duration::from_mins(1)).await;
        }
    };
    takes_lookups(&world, 3, check).await;
}

#[tokio::test]
async fn unused_key_is_looked_up_before_it_is_accepted() {
    let world = World::new().await;
    let keys = [(); 3].map(|()| world.auth.create_key(&["user", "admin"], &["worker"]));
    for key in &keys {
        assert_eq!(world.key_error(key).await, None);
    }
    let [demoted, disabled, unchanged] = &keys;
    world.auth.set_roles_silently(demoted, &["user"]);
    world.auth.revoke_key_silently(disabled);
    crate::testing::skip(Duration::from_mins(2)).await;
    for key in &keys {
        wait_for_broadcasts(&world, key).await;
    }
    let principal = world.verifier.verify_api_key(&demoted.text, CLIENT).await.expect("valid");
    assert!(principal.require(Scope::Worker).is_err(), "the earlier role");
    assert_eq!(world.key_error(disabled).await, Some(VerifyError::Revoked));
    world.auth.go_down();
    world.wait_for_key(unchanged, None).await;
}

#[tokio::test]
async fn process_of_the_previous_release_rejects_no_known_key() {
    let world = World::new().await;
    let key = world.auth.create_key(&["user"], &["tasks:read"]);
    assert_eq!(world.key_error(&key).await, None);
    world.auth.be_previous(true);
    world.broker.pause();
    let is_stale = || {
        let status = world.verifier.0.sessions.status_of(key.session, key.epoch);
        matches!(status, TokenStatus::Stale(_))
    };
    eventually("the key is stale", async || is_stale()).await;
    // Unavailable if the machine is so slow that the key is stale for too long.
    let error = world.key_error(&key).await;
    assert!(matches!(error, None | Some(VerifyError::Unavailable)), "{error:?}");
    world.auth.be_previous(false);
    world.wait_for_key(&key, None).await;
}

#[tokio::test]
async fn tokens_and_keys_are_not_mixed_up() {
    let world = World::new().await;
    let (token, key) = (world.auth.sign_in(), world.auth.create_key(&["user"], &["tasks:read"]));
    assert_eq!(world.error(&key).await, Some(VerifyError::Invalid));
    assert_eq!(world.key_error(&token).await, Some(VerifyError::Invalid));
    assert_eq!(world.auth.validations(), 0);
}
