//! Rotation of signing keys.

use serde_json::json;

use super::*;
use crate::token::keys::REFRESH_INTERVAL;

#[tokio::test]
async fn unknown_key_id_fetches_keys() {
    let world = World::new().await;
    let old = world.auth.sign_in();
    assert_eq!(world.error(&old).await, None);
    world.auth.rotate(2, true);
    let new = world.auth.sign_in();
    world.wait_for(&new, None).await;
    assert_eq!(world.error(&old).await, None);
    world.auth.rotate(3, false);
    let newest = world.auth.sign_in();
    world.wait_for(&newest, None).await;
    for retired in [old, new] {
        world.wait_for(&retired, Some(VerifyError::Invalid)).await;
    }
}

/// An event stream verifies its token again.
#[tokio::test]
async fn verified_token_of_a_removed_key_is_rejected() {
    let world = World::new().await;
    let before = world.verifier.verify(&world.auth.sign_in().text).await.expect("valid");
    assert_eq!(world.verifier.revalidate(&before).await.map(drop), Ok(()));
    world.auth.rotate(2, false);
    let new = world.auth.sign_in();
    world.wait_for(&new, None).await;
    assert_eq!(world.verifier.revalidate(&before).await.map(drop), Err(VerifyError::Invalid));
    let after = world.verifier.verify(&new.text).await.expect("valid");
    assert_eq!(world.verifier.revalidate(&after).await.map(drop), Ok(()));
}

#[tokio::test]
async fn session_event_with_an_unknown_key_fetches_keys() {
    let world = World::new().await;
    let mut session = world.auth.sign_in();
    // Periodic fetches would take the whole interval each time.
    for seed in 2..6 {
        world.auth.rotate(seed, true);
        let began = Instant::now();
        session = world.auth.refresh(&session).await;
        let kid = format!("key-{seed}");
        eventually("the key is known", async || world.verifier.0.keys.known(&kid).is_some()).await;
        if began.elapsed() < REFRESH_INTERVAL / 2 {
            return;
        }
    }
    panic!("keys are fetched periodically only");
}

#[tokio::test]
async fn forged_key_ids_do_not_flood_auth() {
    let world = World::new().await;
    let good = world.auth.sign_in();
    let (before, began) = (world.auth.fetches(), Instant::now());
    for number in 0..200 {
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("x{number}")});
        let text = auth::signed(&header, &auth::claims(&good.text), 9);
        let token = Token { text, ..good.clone() };
        assert_eq!(world.error(&token).await, Some(VerifyError::Invalid));
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("a few");
    assert!(world.auth.fetches() - before <= seconds + 1);
    assert_eq!(world.error(&good).await, None);
}
